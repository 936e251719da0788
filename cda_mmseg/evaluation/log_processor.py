"""Keep per-class scores out of the lines that a person reads."""

import re

import numpy as np
from mmengine.runner import LogProcessor, Runner
from mmseg.registry import LOG_PROCESSORS

PER_CLASS = re.compile(r'\S*/(IoU|Dice|Fscore|Precision|Recall|share)\.|(source|target)\.(label_)?share\.')


@LOG_PROCESSORS.register_module()
class DomainLogProcessor(LogProcessor):
    """Write scores and class shares per class to the log files but not to the line of text.

    :class:`DomainIoUMetric` prints its own as a table already; a line with four numbers per class would bury the means.
    Arguments are those of mmengine's ``LogProcessor``.
    """

    def get_log_after_iter(self, runner: Runner, batch_idx: int, mode: str) -> tuple[dict, str]:
        """Format what an iteration logs."""
        return self._shortened(*super().get_log_after_iter(runner, batch_idx, mode))

    def get_log_after_epoch(
        self, runner: Runner, batch_idx: int, mode: str, with_non_scalar: bool = False
    ) -> tuple[dict, str]:
        """Format the scores of a validation or test."""
        return self._shortened(*super().get_log_after_epoch(runner, batch_idx, mode, with_non_scalar))

    @staticmethod
    def _shortened(tag: dict, text: str) -> tuple[dict, str]:
        # mmengine writes NumPy's integers, such as the number of images, as null
        tag = {name: int(value) if isinstance(value, np.integer) else value for name, value in tag.items()}
        # mmengine joins the items with two spaces.
        return tag, '  '.join(item for item in text.split('  ') if not PER_CLASS.match(item))
