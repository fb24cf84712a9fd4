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
