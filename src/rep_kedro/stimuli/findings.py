"""What a stimulus set's images have in common, collected while they are checked."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any

from rep_kedro.stimuli.decoding import CheckedImage
from rep_kedro.stimuli.record import DamagedSourceError
from rep_kedro.stimuli.wide_values import MAX_VALUE, ValueRange


@dataclass
class Findings:
    """Sizes, ranges of values and frames of all images of a set."""

    _sizes: set[tuple[int, int]] = field(default_factory=set)
    _n_wide: int = 0
    _smallest: float = inf
    _largest: float = -inf
    _several_frames: int = 0

    def add(self, image: CheckedImage) -> None:
        """Add what was found in one image."""
        self.add_sizes([image.size])
        self._several_frames += image.has_more_frames
        if image.wide_range is not None:
            self._n_wide += 1
            self._smallest = min(self._smallest, image.wide_range[0])
            self._largest = max(self._largest, image.wide_range[1])

    def add_sizes(self, sizes: Iterable[tuple[int, int]]) -> None:
        """Take widths and heights in pixels; two sizes are as good as many."""
        for size in sizes:
            if len(self._sizes) < 2:
                self._sizes.add(size)

    def require_effect(self, value_range: ValueRange | None) -> None:
        """Raise if a range of values is given that no image needs.

        Raises:
            DamagedSourceError: If there is no image of more than 8 bits.
        """
        if value_range is not None and not self._n_wide:
            raise DamagedSourceError(
                f"{value_range.parameter} has no effect: no image has 16 bits per channel; remove it"
            )

    def describe(self) -> dict[str, Any]:
        """Return what goes into the set's meta."""
        only = next(iter(self._sizes)) if len(self._sizes) == 1 else None
        wide = {"n_images": self._n_wide, "smallest": self._smallest, "largest": self._largest}
        return {
            "image_size_px": only[0] if only and only[0] == only[1] else None,
            "wide_values": wide if self._n_wide else None,
            "several_frames": self._several_frames,
        }


def remarks_on_images(meta: Mapping[str, Any]) -> list[str]:
    """Return what a user should know about the images of a stimulus set.

    Example:
        >>> wide = {"n_images": 2, "smallest": 9, "largest": 4000}
        >>> for remark in remarks_on_images({"wide_values": wide, "several_frames": 0, "source": {}}):
        ...     print(remark)
        2 images of 16 bits hold values from 9 to 4,000 and become 8 bits as value * 255 / 65,535, hence 17 \
levels at most; if they have fewer bits, set max_value, such as 4095
    """
    remarks = []
    wide = meta["wide_values"]
    is_stated = any(meta["source"].get(name) for name in ("max_value", "value_window"))
    if wide and not is_stated and wide["largest"] <= MAX_VALUE // 2:
        likely = (1 << max(1, wide["largest"].bit_length())) - 1
        n_levels = round(wide["largest"] * 255 / MAX_VALUE) - round(wide["smallest"] * 255 / MAX_VALUE) + 1
        remarks.append(
            f"{wide['n_images']} images of 16 bits hold values from {wide['smallest']:,} to"
            f" {wide['largest']:,} and become 8 bits as value * 255 / {MAX_VALUE:,}, hence {n_levels} levels"
            f" at most; if they have fewer bits, set max_value, such as {likely}"
        )
    if meta["several_frames"]:
        remarks.append(f"{meta['several_frames']} images have several frames, of which the first counts")
    return remarks
