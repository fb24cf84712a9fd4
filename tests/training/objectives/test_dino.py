"""DINO: the paper's formula, lightly's numbers, what moves with a training, and what is refused."""

import copy
import math

import pytest
import torch
from pydantic import ValidationError
from tests.reference import objectives as reference

from rep_kedro.errors import UserError
from rep_kedro.models.building import build_network
from rep_kedro.training.objectives.dino import Prototypes, dino_losses, move_centre
from rep_kedro.training.objectives.registry import make_objective

TEMPERATURES = {"student_temperature": 0.1, "teacher_temperature": 0.055}
SMALL = {"n_prototypes": 6, "projector_widths": [8, 4], "views": {"noise_std": 0.1}}


def _draw(n_views, n=3, k=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n_views, n, k, generator=generator, dtype=torch.float64) / 4


def _exact(start):
    """Return outputs that are multiples of an eighth, for numbers that others computed of them."""
    values = torch.arange(start, start + 60)
    return ((values * 7) % 23 - 11).reshape(3, 4, 5).double() / 8


def _step(objective, network, head, seed=1):
    images = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    return objective.compute_losses(network, head, images, torch.zeros(6), torch.Generator().manual_seed(2))


def _start(**options):
    objective = make_objective("dino", {**SMALL, **options})
    network = build_network("cnn", n_classes=None, seed=0)
    return objective, network, objective.build_projector(network, torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("n_student", "n_teacher"), [(2, 2), (4, 2), (2, 1)])
def test_the_loss_is_the_papers_formula(n_student, n_teacher):
    student, teacher, centre = _draw(n_student), _draw(n_teacher, seed=1), _draw(1, 1, seed=2).flatten()
    expected = reference.dino(student, teacher, centre, 0.1, 0.055)
    assert dino_losses(student, teacher, centre, **TEMPERATURES)["loss"].item() == pytest.approx(
        expected, rel=1e-12
    )
    moved = move_centre(centre, teacher, 0.9).tolist()
    assert moved == pytest.approx(reference.dino_centre(centre, teacher, 0.9), rel=1e-12)


def test_three_steps_have_the_losses_and_centres_of_lightly():
    """Numbers of `DINOLoss(5, center_momentum=0.9)` of lightly 1.6.0, in float64."""
    expected = [
        (13.011367105933061, [-0.0265625, 0.025, -0.03125, 0.0203125, 0.0]),
        (5.0789027259362545, [-0.00359375, 0.0225, -0.0484375, 0.04953125, -0.025]),
        (15.609473011976977, [0.028015625, -0.00475, -0.01703125, 0.050828125, -0.0725]),
    ]
    centre = torch.zeros(5, dtype=torch.float64)
    for step, (temperature, (loss, moved)) in enumerate(zip((0.04, 0.055, 0.07), expected, strict=True)):
        student, teacher = _exact(step)[: 3 if step == 2 else 2], _exact(100 + 3 * step)[:2]
        found = dino_losses(
            student, teacher, centre, student_temperature=0.1, teacher_temperature=temperature
        )
        assert found["loss"].item() == pytest.approx(loss, rel=1e-12)
        centre = move_centre(centre, teacher, 0.9)
        assert centre.tolist() == pytest.approx(moved, abs=1e-12)


def test_the_entropy_of_the_teacher_lies_between_one_choice_and_none():
    student = _draw(2)
    decided = 100 * torch.eye(4, dtype=torch.float64)[:3].expand(2, 3, 4)
    for teacher, expected in ((decided, 0), (torch.ones_like(student), math.log(4))):
        found = dino_losses(student, teacher, torch.zeros(4), **TEMPERATURES)["teacher_entropy"]
        assert found.item() == pytest.approx(expected, abs=1e-12)


def test_outputs_are_cosines_whatever_the_lengths():
    prototypes = Prototypes(3, 5, torch.Generator().manual_seed(0)).double()
    embeddings = _draw(1, 4, 3)[0]
    expected = torch.cosine_similarity(embeddings[:, None], prototypes.weight[None], dim=2)
    torch.testing.assert_close(prototypes(embeddings), expected, rtol=1e-12, atol=1e-12)
    longer = copy.deepcopy(prototypes)
    longer.weight.data *= 7
    torch.testing.assert_close(longer(3 * embeddings), expected, rtol=1e-12, atol=1e-12)


def test_prototypes_have_no_gradient_at_first_and_one_later():
    objective, network, head = _start(frozen_fraction=0.5)
    _step(objective, network, head)["loss"].backward()
    assert head.prototypes.weight.grad is None
    assert network.conv1.weight.grad is not None
    objective.after_update(network, head, 0.5)
    _step(objective, network, head)["loss"].backward()
    assert head.prototypes.weight.grad is not None


def test_the_teacher_follows_with_its_prototypes_and_the_centre_moves_with_each_pass():
    objective, network, head = _start(momentum=0.9)
    pairs = list(
        zip(
            head.teacher.parameters(),
            [*network.parameters(), *head.projector.parameters(), *head.prototypes.parameters()],
            strict=True,
        )
    )
    assert all(torch.equal(slow, fast) for slow, fast in pairs)
    assert not any(slow.requires_grad for slow, _ in pairs)
    with torch.no_grad():
        for _, fast in pairs:
            fast.add_(1.0)
    before = [slow.clone() for slow, _ in pairs]
    objective.after_update(network, head, 0.5)  # half way the momentum is 0.95
    for (slow, _), start in zip(pairs, before, strict=True):
        torch.testing.assert_close(slow - start, torch.full_like(slow, 0.05), atol=1e-5, rtol=0)
    _step(objective, network, head)
    first = head.centre.clone()
    assert first.abs().sum() > 0
    _step(objective, network, head)
    torch.testing.assert_close(head.centre, 1.9 * first)  # the same images: 0.9 c + 0.1 of the same mean


def test_the_temperature_of_the_teacher_rises_and_stays():
    options = {"first_teacher_temperature": 0.04, "teacher_temperature": 0.08, "teacher_warmup_fraction": 0.5}
    objective = make_objective("dino", options)
    assert [objective.warmed_temperature(x) for x in (0, 0.25, 0.5, 1)] == pytest.approx(
        [0.04, 0.06, 0.08, 0.08]
    )
    assert make_objective("dino", {"teacher_warmup_fraction": 0}).warmed_temperature(0) == 0.07


def test_local_views_are_compared_with_the_teachers_views_and_passed_by_themselves():
    objective, network, head = _start(n_local_views=2)
    embeddings, outputs, wanted = [], [], []
    for module, found in ((head, embeddings), (head.prototypes, outputs), (head.teacher.projector, wanted)):
        module.register_forward_hook(lambda _, __, output, found=found: found.append(output.detach()))
    loss = _step(objective, network, head)["loss"]
    assert [len(each) for each in embeddings] == [12, 12]  # of two and of two views of six images
    student, teacher = outputs[0].unflatten(0, (4, 6)), wanted[0].unflatten(0, (2, 6))
    torch.testing.assert_close(outputs[0], head.prototypes(torch.cat(embeddings)))  # the pairs come first
    expected = reference.dino(student, teacher, torch.zeros(6), 0.1, objective.warmed_temperature(0))
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("student", "teacher"),
    [((2, 3, 4), (2, 3, 5)), ((1, 3, 4), (1, 3, 4)), ((2, 3, 4), (3, 3, 4)), ((3, 4), (3, 4))],
)
def test_outputs_that_do_not_fit_are_refused(student, teacher):
    with pytest.raises(ValueError, match=r"DINO needs outputs \(n_views >= 2, n_images, n_prototypes\)"):
        dino_losses(torch.zeros(student), torch.zeros(teacher), torch.zeros(4), **TEMPERATURES)


def test_batches_whose_outputs_would_fill_the_memory_are_refused():
    objective = make_objective("dino", {"n_prototypes": 2**16, "n_local_views": 10})
    objective.require_batch(1024)
    with pytest.raises(UserError, match=r"n_prototypes 65,536 for 12 views of batch_size 2,048.*lower one"):
        objective.require_batch(2048)


def test_settings_that_cannot_be_meant_are_refused():
    for options, message in (
        ({"teacher_temperature": 0}, "greater than 0"),
        ({"n_prototypes": 1}, "greater than or equal to 2"),
        ({"local_view": {"crop": 1}}, "local_view: unknown setting 'crop'; did you mean"),
        ({"local_view": {"crop_area": [0.4, 0.1]}}, "local_view: crop_area must be an ascending pair"),
        ({"second_view": {"hue": 2}}, "second_view: hue should be less than or equal to 0.5, got 2"),
        ({"n_prototypes": 2**20, "projector_widths": [512]}, "1,048,576 of 512 dimensions.*lower one"),
        ({"projector_widths": [20_000]}, "less than or equal to 16384"),
        ({"projector_widths": [2] * 17}, "at most 16 items"),
        ({"target_rank": 33}, "target_rank 33 exceeds the 32 dimensions of the embedding"),
    ):
        with pytest.raises(ValidationError, match=message):
            make_objective("dino", options)
