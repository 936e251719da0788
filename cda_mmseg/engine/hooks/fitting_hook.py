"""A look at every checkpoint before its weights are in the model."""

from collections.abc import Collection

from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner
from mmseg.registry import HOOKS

from cda_mmseg.engine.checkpointing.adaptations import check_adaptations
from cda_mmseg.engine.checkpointing.fitting import FRESH_PARTS, check_fit


@HOOKS.register_module()
class FittingHook(Hook):
    """Refuse weights of another network, or of a part of it, which mmengine would leave random without an error.

    A run that begins from ``load_from`` may do without the parts that ``fresh_parts`` of its config names. One that is
    resumed needs the weights of its adaptations too.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare what was read with the model."""
        path = runner._load_from or runner.cfg.get('branch_from')
        fresh_parts: Collection[str] = ()
        if runner._resume:
            check_adaptations(runner.model, checkpoint, path)
        elif isinstance(runner._train_loop, BaseLoop):
            fresh_parts = runner.cfg.get(FRESH_PARTS, ())
        misfits = check_fit(runner.model, checkpoint, path, fresh_parts, whole=runner._resume)
        if misfits:
            runner.logger.warning(
                f'{len(misfits)} weights begin fresh, as {FRESH_PARTS}={list(fresh_parts)} says: ' + '; '.join(misfits)
            )


def check_what_is_loaded(runner: Runner) -> None:
    """Register the hook unless another one, such as ``AtomicCheckpointHook``, does its work."""
    if not any(isinstance(hook, FittingHook) for hook in runner.hooks):
        runner.register_hook(FittingHook())
