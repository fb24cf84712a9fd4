"""Receptive fields by brute force: follow every single input pixel through a graph of layers."""


def trace_receptive_fields(layers, input_px):
    """Return by layer the list of sets of input pixels that each position depends on.

    Layers are (name, inputs, kernel, stride, padding, dilation); no inputs means the image; kernel None
    means all positions. Pixels in the padding of the image count with their (negative or too large) index;
    positions in the padding of inner maps see what they would see if the map went on.
    """
    maps = {}
    for name, inputs, kernel, stride, padding, dilation in layers:
        sources = [maps[source] for source in inputs] or [(lambda i: {i}, input_px)]
        size = sources[0][1]
        taps = range(size) if kernel is None else range(0, kernel * dilation, dilation)
        n_out = (size + 2 * padding - taps[-1] - 1) // stride + 1

        def see(i, sources=sources, taps=taps, stride=stride, padding=padding):
            return set().union(*(read(i * stride - padding + tap) for read, _ in sources for tap in taps))

        maps[name] = (see, n_out)
    return {name: [see(i) for i in range(n)] for name, (see, n) in maps.items()}


def smallest_path(layers, input_px):
    """Return by layer the smallest r = 1 + sum (k - 1) d j over all paths, listing every path."""
    paths = {}
    size = {}
    for name, inputs, kernel, stride, padding, dilation in layers:
        before = [path for source in inputs for path in paths[source]] or [(1, 1)]
        size_in = size[inputs[0]] if inputs else input_px
        width = size_in if kernel is None else kernel
        paths[name] = [(r + (width - 1) * dilation * j, j * stride) for r, j in before]
        size[name] = (size_in + 2 * padding - (width - 1) * dilation - 1) // stride + 1
    return {name: min(r for r, _ in found) for name, found in paths.items()}


def unproductive_nodes(n_blocks, kernels, input_px):
    """Return the unproductive nodes of a residual network, by the published rule on a graph with additions.

    The first convolution of a stage has the stride. A node is unproductive if all it reads has a smallest
    field of at least the image and its own is larger, or if all maps it reads are no larger than its kernel.
    """
    nodes = {}

    def add(name, before, kernel, stride=1):
        paths = {path for source in before for path in nodes[source][0]} or {(1, 1)}
        paths = {(r + (kernel - 1) * j, j * stride) for r, j in paths}
        nodes[name] = ({min(paths), max(paths)}, before, kernel)
        return name

    x = add("pool", [add("stem", [], 7, 2)], 3, 2)
    for stage, n in enumerate(n_blocks):
        for block in range(n):
            stride = 2 if stage and not block else 1
            y = x
            for place, kernel in enumerate(kernels):
                y = add(f"conv {stage} {block} {place}", [y], kernel, 1 if place else stride)
            skip = add(f"skip {stage}", [x], 1, 2) if stride == 2 else x
            x = add(f"addition {stage} {block}", [skip, y], 1)
    found = []
    for name, (paths, before, kernel) in nodes.items():
        sees_all = all(min(nodes[source][0])[0] >= input_px for source in before)
        is_small = all(input_px // max(j for _, j in nodes[source][0]) <= kernel for source in before)
        if before and ((sees_all and min(paths)[0] > input_px) or is_small):
            found.append(name)
    return found
