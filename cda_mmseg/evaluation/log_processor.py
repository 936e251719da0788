"""Keep per-class scores out of the lines that a person reads."""

import re

from mmengine.runner import LogProcessor, Runner
from mmseg.registry import LOG_PROCESSORS

PER_CLASS = re.compile(r'\S*/(IoU|share)\.')


@LOG_PROCESSORS.register_module()
class DomainLogProcessor(LogProcessor):
    """Write the per-class scores of :class:`DomainIoUMetric` to the log files but not to the line of text.

    The metric prints them as a table already; a line with four numbers per class would bury the means. Arguments are
    those of mmengine's ``LogProcessor``.
    """

    def get_log_after_epoch(
        self, runner: Runner, batch_idx: int, mode: str, with_non_scalar: bool = False
    ) -> tuple[dict, str]:
        """Format the scores of a validation or test.

        Args:
            runner (Runner): The runner.
            batch_idx (int): Index of the last batch.
            mode (str): 'val' or 'test'.
            with_non_scalar (bool): Whether values that are not scalars are returned as well.

        Returns:
            tuple[dict, str]: All scores by name, and the line of text without the per-class ones.
        """
        tag, text = super().get_log_after_epoch(runner, batch_idx, mode, with_non_scalar)
        # mmengine joins the items with two spaces.
        return tag, '  '.join(item for item in text.split('  ') if not PER_CLASS.match(item))
