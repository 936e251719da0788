"""Networks, losses and segmentors; each package in it registers its own, and imports no other without need."""

import cda_mmseg.host  # noqa: F401
