"""What is seen of runs: logs, curves, pictures, pages."""

import cda_mmseg.host  # noqa: F401
from cda_mmseg.visualization.panel_hook import DomainPanelHook
from cda_mmseg.visualization.tensorboard import RunTensorboardBackend

__all__ = ['DomainPanelHook', 'RunTensorboardBackend']
