"""Every table and figure of Zhu et al., *Penalizing Top Performers* (ECCV 2018), as something one can run."""

import cda_mmseg.registration  # noqa: F401
