"""What a run shows on the terminal before it begins to train: little; its log file has everything."""

import logging

SETTING_UP = ('\n---', 'Config:\n', 'Hooks will be executed', 'paramwise_options', 'Distributed training is not used')
"""How messages begin in which mmengine lists versions, the whole config, the hooks and the rate of every parameter."""


class WithoutSetUp(logging.Filter):
    """Keep what mmengine lists while it sets up a run out of a handler."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is shown."""
        return not record.getMessage().startswith(SETTING_UP)


def shorten_terminal(logger: logging.Logger) -> None:
    """Let a logger's terminal go without what is of use in its file alone."""
    for handler in logger.handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.addFilter(WithoutSetUp())
