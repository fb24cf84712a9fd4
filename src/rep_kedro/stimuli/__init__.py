"""Stimuli: where images come from, what their bytes mean as pixels, and how subsets are drawn.

``sources`` lists the sources; ``assembly`` turns any of them into a stimulus set; ``decoding`` makes pixels;
``subsets`` draws stimuli.
"""

from rep_kedro.stimuli.decoding import decode_images
from rep_kedro.stimuli.pixels import UnreadableImageError
from rep_kedro.stimuli.selection import select_stimuli

__all__ = ["UnreadableImageError", "decode_images", "select_stimuli"]
