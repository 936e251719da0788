"""Score a teacher in the student's place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import Runner
from mmseg.registry import HOOKS

if TYPE_CHECKING:
    from cda_mmseg.models.adaptations.teacher import Teacher
    from cda_mmseg.models.players import EncoderPlayer


def scores_teacher(config: Mapping) -> bool:
    """Tell whether a run of a config scores its teacher."""
    return any(HOOKS.get(hook['type']) is TeacherEvaluationHook for hook in config.get('custom_hooks') or ())


@HOOKS.register_module()
class TeacherEvaluationHook(Hook):
    """Let validation and test score the averaged teacher of self-training; without this, the student.

    Which of the two a result is of should be settled in the config, before scores on the target's labels are known. The
    weights change places in the model for the evaluation only; checkpoints hold each in its own place.

    Args:
        adaptation (str): Name of the adaptation in ``adaptations``.

    Raises:
        ValueError: If that adaptation has no teacher; in a test, also if the teacher has not begun.
    """

    # Behind the evaluation the student is back before a checkpoint is written.
    priority = 'HIGH'

    def __init__(self, adaptation: str = 'self_training') -> None:
        self.adaptation = adaptation

    def before_run(self, runner: Runner) -> None:
        """Look for the teacher."""
        self._networks(runner)

    def before_val_epoch(self, runner: Runner) -> None:
        """Put the teacher in; before it has begun the student is scored."""
        self._exchange(runner)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Put the student back."""
        self._exchange(runner)

    def before_test_epoch(self, runner: Runner) -> None:
        """Put the teacher in."""
        if not self._networks(runner)[0].has_begun:
            raise ValueError(
                f'TeacherEvaluationHook: the teacher of adaptations.{self.adaptation} has not begun in '
                f'{runner._load_from}. Test a later checkpoint, or leave the hook out to score the student.'
            )
        self._exchange(runner)

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Put the student back."""
        self._exchange(runner)

    def _networks(self, runner: Runner) -> tuple[Teacher, EncoderPlayer]:
        """Find teacher and student."""
        model = runner.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        teachers = {
            name: one.teacher for name, one in getattr(model, 'adaptations', {}).items() if hasattr(one, 'teacher')
        }
        if self.adaptation not in teachers:
            raise ValueError(
                f'TeacherEvaluationHook: the model has no teacher in adaptations.{self.adaptation}, '
                f'but in {list(teachers) or "none"}.'
            )
        return teachers[self.adaptation], model.encoder

    @torch.no_grad()
    def _exchange(self, runner: Runner) -> None:
        teacher, student = self._networks(runner)
        if not teacher.has_begun:
            return
        pairs = [
            *zip(teacher.network.parameters(), student.parameters(), strict=True),
            *zip(teacher.network.buffers(), student.buffers(), strict=True),
        ]
        for own, other in pairs:
            kept = own.clone()
            own.copy_(other)
            other.copy_(kept)
