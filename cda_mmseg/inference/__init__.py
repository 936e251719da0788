"""From a folder of pictures to predictions of them."""

import cda_mmseg.host  # noqa: F401
from cda_mmseg.inference.files import pack
from cda_mmseg.inference.pictures import Picture, find_pictures
from cda_mmseg.inference.predict import KINDS, Outcome, predict_pictures

__all__ = ['KINDS', 'Outcome', 'Picture', 'find_pictures', 'pack', 'predict_pictures']
