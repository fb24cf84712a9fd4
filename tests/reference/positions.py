"""Reading of maps straight from the definitions, in plain loops over nested lists."""

import math


def nearest_rows(size, side):
    return list(range(size)) if size <= side else [math.floor(i * size / side) for i in range(side)]


def pick_nearest(maps, side):
    rows, columns = nearest_rows(len(maps[0][0]), side), nearest_rows(len(maps[0][0][0]), side)
    return [[[[channel[y][x] for x in columns] for y in rows] for channel in image] for image in maps]


def read_map(maps, way):
    """Return samples of (n, channels, height, width)."""
    if way == "channelwise":
        return [
            [channel[y][x] for channel in image]
            for image in maps
            for y in range(len(image[0]))
            for x in range(len(image[0][0]))
        ]
    values = [[[value for row in channel for value in row] for channel in image] for image in maps]
    if way == "flatten":
        return [[value for channel in image for value in channel] for image in values]
    reduce = {
        "mean": lambda v: math.fsum(v) / len(v),
        "max": max,
        "median": lambda v: sorted(v)[(len(v) - 1) // 2],
    }[way]
    return [[reduce(channel) for channel in image] for image in values]
