// What the marks of a figure are (src/rep_kedro/datasets/marks.py writes it): nearest mark, search, rows.
const REACH = 9; // how far from a mark the pointer may be, in units of the drawing

class Points {
  constructor(group, texts) {
    Object.assign(this, group);
    const coded = new Set(group.coded);
    this.names = [...Object.keys(group.fixed), ...Object.keys(group.columns)];
    this.size = group.x.length;
    this.value = (index, name) => {
      if (name in group.fixed) return group.fixed[name];
      const held = group.columns[name][index];
      return coded.has(name) ? texts[held] : held;
    };
    this.isNetwork = (name) => coded.has(name) && name.includes("network");
  }

  // The nearest mark as {distance, x, y, pairs}, where the pointer is within reach of one.
  nearest(x, y) {
    let [best, least] = [-1, Infinity];
    const [isAcross, isDown] = ["x", "y"].map((axis) => this.along.includes(axis));
    for (let i = 0; i < this.size; i++) {
      const [dx, dy] = [isAcross ? this.x[i] - x : 0, isDown ? this.y[i] - y : 0];
      const distance = Math.hypot(dx, dy);
      if (distance < least) [best, least] = [i, distance];
    }
    if (least > REACH) return null;
    return { distance: least, x: this.x[best], y: this.y[best], pairs: this.pairs(best) };
  }

  pairs(index) {
    return this.names.map((name) => [name, this.value(index, name)]);
  }

  // Rings around the marks of the networks that are wanted, as the data of one path.
  find(isWanted) {
    const networks = this.names.filter(this.isNetwork);
    const rings = [];
    for (let i = 0; i < this.size; i++) {
      if (networks.some((name) => isWanted(this.value(i, name)))) {
        rings.push(`M${this.x[i] - 6},${this.y[i]}a6,6 0 1 0 12,0a6,6 0 1 0 -12,0`);
      }
    }
    return rings;
  }

  *rows() {
    for (let i = 0; i < this.size; i++) yield this.pairs(i);
  }
}

class Cells {
  constructor(group, texts) {
    Object.assign(this, group);
    this.labels = group.order.map((place) => texts[place]);
    const [left, top, right, bottom] = group.box;
    this.width = (right - left) / this.labels.length;
    this.height = (bottom - top) / this.labels.length;
    this.isWhole = this.labels.length > 1 && this.values[1].length === this.labels.length;
  }

  nearest(x, y) {
    const [left, top] = this.box;
    const [column, row] = [Math.floor((x - left) / this.width), Math.floor((y - top) / this.height)];
    const middle = [left + (column + 0.5) * this.width, top + (row + 0.5) * this.height];
    return { distance: 0, x: middle[0], y: middle[1], pairs: this.pairs(row, column) };
  }

  pairs(row, column) {
    const named = [[this.names[0], this.labels[row]], [this.names[1], this.labels[column]]];
    return [...Object.entries(this.fixed), ...named, [this.value, this.valueAt(row, column)]];
  }

  valueAt(row, column) {
    if (this.isWhole) return this.values[row][column];
    return this.values[Math.min(row, column)][Math.abs(column - row)];
  }

  find(isWanted) {
    if (!this.names[0].includes("network")) return [];
    const [left, top, right, bottom] = this.box;
    return this.labels.flatMap((label, index) => {
      if (!isWanted(label)) return [];
      const [x, y] = [left + index * this.width, top + index * this.height];
      return [
        `M${left},${y}H${right}v${this.height}H${left}z`,
        `M${x},${top}V${bottom}h${this.width}V${top}z`,
      ];
    });
  }

  *rows() {
    for (let row = 0; row < this.labels.length; row++) {
      for (let column = this.isWhole ? 0 : row + 1; column < this.labels.length; column++) {
        if (column !== row) yield this.pairs(row, column);
      }
    }
  }
}

// Read a figure's marks when they are first needed: pages with hundreds of networks hold megabytes of them.
const marksOf = (() => {
  const known = new WeakMap();
  return (figure) => {
    if (!known.has(figure)) {
      const block = figure.querySelector("script.marks");
      const { texts, groups } = block ? JSON.parse(block.textContent) : { texts: [], groups: [] };
      known.set(figure, groups.map((group) => new (group.order ? Cells : Points)(group, texts)));
    }
    return known.get(figure);
  };
})();

function markAt(figure, x, y) {
  let best = null;
  for (const group of marksOf(figure)) {
    const [left, top, right, bottom] = group.box;
    const reach = group.order ? 0 : REACH;
    if (x < left - reach || x >= right + reach || y < top - reach || y >= bottom + reach) continue;
    const found = group.nearest(x, y);
    if (found && (!best || found.distance < best.distance)) best = found;
  }
  return best;
}
