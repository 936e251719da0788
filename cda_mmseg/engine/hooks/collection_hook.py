"""Gather what the processes of a run scored."""

from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.runner import Runner


class CollectionHook(Hook):
    """Send the results of metrics through the process group, whatever device it works on.

    mmengine's metrics do so when told ``collect_device='gpu'``. By default they pass pickles through files in
    ``.dist_test`` of the current folder, which all machines must share and which stays behind. A metric that was given
    a ``collect_dir`` keeps it.
    """

    def before_val(self, runner: Runner) -> None:
        """Prepare the metrics of validations."""
        self._collect_in_memory(runner.val_evaluator)

    def before_test(self, runner: Runner) -> None:
        """Prepare the metrics of the test."""
        self._collect_in_memory(runner.test_evaluator)

    def _collect_in_memory(self, evaluator: Evaluator) -> None:
        for metric in evaluator.metrics:
            if metric.collect_dir is None:
                metric.collect_device = 'gpu'
