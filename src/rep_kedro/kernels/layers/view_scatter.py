"""How views of one image differ, and how images differ: LiDAR and alignment, from batches of images."""

import math

import torch
from torch import Tensor

from rep_kedro.kernels.layers.measured import Measured, undefined
from rep_kedro.kernels.layers.spectrum import compute_eigenvalues
from rep_kedro.kernels.layers.streaming import RELATIVE_ROUNDING, StreamedMoments

LIDAR_DELTA = 1e-4
LIDAR_EPSILON = 1e-7
FEWEST_IMAGES, FEWEST_VIEWS = 2, 2
FAR = 1e6  # views this many times farther from zero than from each other are moved to it
SMALLEST_SPREAD, LARGEST_SPREAD = 1e-280, 1e280  # sums of squares that no product takes out of range
SINGULAR = 1e-13  # an eigenvalue this small relative to the largest is rounding of float64


class ViewScatter:
    """Scatter of images around their mean, and of views around their image, summed in float64.

    The sums do not depend on how images are cut into batches, up to rounding.

    Args:
        n_features: Of each view.

    Attributes:
        n_images: Images seen so far.
        n_views: Of each image; 0 before the first.

    Cost:
        Memory of two matrices (n_features, n_features), however many images come.
    """

    def __init__(self, n_features: int) -> None:
        self.n_images = self.n_views = 0
        self._images = StreamedMoments(n_features)
        self._within = torch.zeros(n_features, n_features, dtype=torch.float64)
        self._apart = 0.0  # sum over images of the mean squared distance of two of its views, on the sphere
        self._has_zero = False
        self._origin: Tensor | None = None  # of the scatter; zero, or a view where all are far from zero

    def update(self, views: Tensor) -> None:
        """Take in the views of some images.

        Args:
            views: Finite, shape (n_images, n_views, n_features), at least 2 views of each.

        Raises:
            ValueError: If the shape does not fit, or a value is not finite.
        """
        k = self._images.n_features
        n_views = self.n_views or (views.shape[1] if views.ndim == 3 else 0)
        if views.ndim != 3 or views.shape[1:] != (n_views, k) or n_views < FEWEST_VIEWS:
            wanted = self.n_views or f"{FEWEST_VIEWS} or more"
            raise ValueError(f"views must have shape (n_images, {wanted}, {k}), got {tuple(views.shape)}")
        x = views.double()
        if self._origin is None:
            away = x[0, 0].abs().max() > FAR * (x - x[0, 0]).abs().max()
            self._origin = x[0, 0] * away
        moved = x - self._origin
        means = moved.mean(dim=1)
        self._images.update(means)
        rest = (moved - means[:, None]).reshape(-1, k)
        self._within += rest.T @ rest
        self.n_images, self.n_views = self.n_images + len(x), n_views
        sizes = x.abs().amax(dim=2, keepdim=True)
        if not bool(sizes.all()):
            self._has_zero = True
            return
        z = torch.nn.functional.normalize(x / sizes, dim=2)
        around = (z - z.mean(dim=1, keepdim=True)).square().sum().item()
        self._apart += 2 * around / (n_views - 1)

    def lidar(self, *, delta: float = LIDAR_DELTA, epsilon: float = LIDAR_EPSILON) -> Measured:
        """Return LiDAR: the effective rank of how images differ, measured by how views of one image differ.

        Args:
            delta: Added to the diagonal of the scatter within images; it changes the value much where some
                directions hardly differ between views, and makes it depend on the scale of the features.
            epsilon: Added to each share of the eigenvalues, as by RankMe.

        Returns:
            From about 1 to min(n_features, n_images - 1). Unchanged by rotation and translation of the
            features. Undefined for one image, where images do not differ beyond rounding, where squares
            leave the range of numbers, and where views do not differ in some directions and delta is lost in
            rounding.

        Source:
            Thilak et al. 2024, arXiv:2312.04000, section 4.
        """
        if self.n_images < FEWEST_IMAGES:
            return undefined(f"needs {FEWEST_IMAGES} images, got {self.n_images}")
        among, inside = self._images.scatter.trace().item(), self._within.trace().item()
        if not (among + inside < LARGEST_SPREAD) or 0 < among + inside < SMALLEST_SPREAD:
            return undefined("features are of a scale at which squares leave the range of numbers")
        if self._images.is_constant() or among <= RELATIVE_ROUNDING * inside:
            return undefined("images do not differ beyond rounding")
        scatter = (self._within + self._within.T) / (2 * self.n_images * (self.n_views - 1))
        within, vectors = torch.linalg.eigh(scatter)
        within = within.clamp(min=0.0) + delta
        if within[0] <= SINGULAR * len(within) * within[-1]:
            return undefined(
                f"delta {delta:g} is rounding relative to the scatter within images; raise delta"
            )
        root = vectors / within.sqrt()
        ratio = root.T @ self._images.covariance(ddof=1) @ root
        eigenvalues = compute_eigenvalues((ratio + ratio.T) / 2)
        shares = eigenvalues / eigenvalues.sum() + epsilon
        return Measured(math.exp(-torch.special.xlogy(shares, shares).sum().item()))

    def alignment(self) -> Measured:
        """Return the mean squared distance of two views of an image, with features of length one.

        Returns:
            From 0 (views do not differ) to 4, the mean over images and pairs of their views. Undefined where
            a view is zero. Unchanged by rotations of the features and by the length of each view.

        Source:
            Wang & Isola 2020, arXiv:2005.10242, equation 2, alpha = 2.
        """
        if self._has_zero:
            return undefined("a view has no direction: all its features are zero")
        return Measured(self._apart / self.n_images) if self.n_images else undefined("there are no images")


def measure_lidar(views: Tensor, *, delta: float = LIDAR_DELTA) -> Measured:
    """Return LiDAR of views in memory, shape (n_images, n_views, n_features); see :meth:`ViewScatter.lidar`.

    Raises:
        ValueError: If there are fewer than two images or views.
    """
    if views.ndim != 3 or len(views) < FEWEST_IMAGES or views.shape[1] < FEWEST_VIEWS:
        raise ValueError(
            f"LiDAR needs at least {FEWEST_IMAGES} images and {FEWEST_VIEWS} views of each, got shape"
            f" {tuple(views.shape)}"
        )
    scatter = ViewScatter(views.shape[2])
    scatter.update(views)
    return scatter.lidar(delta=delta)
