import pytest
from mmengine.config import Config

from cda_mmseg.engine import read_config
from cda_mmseg.utils.loading import UntrustedCheckpointError
from cda_mmseg.utils.loading.config_text import read_config_text
from tests.tool_processes import SMOKE


def test_what_mmengine_writes_is_read_without_running_it():
    config = read_config(SMOKE)
    config.own = dict(id_map={7: 0, -1: 255}, scale=(1.5, None), names={'a b': [True, {}]})
    assert read_config_text(config.pretty_text, 'a.pth').to_dict() == config.to_dict()


def test_it_runs_as_it_is_read():
    text = read_config(SMOKE).pretty_text
    assert read_config_text(text, 'a.pth').to_dict() == Config.fromstring(text, '.py').to_dict()


@pytest.mark.parametrize(
    'text',
    [
        *('import os', 'a = open("x")', 'a = dict(b=[__import__("os")])', 'a.b = 1', 'a = [x for x in (1,)]'),
        *('a = dict(**{})', 'a = {**{}}', 'a = b', 'def a(): pass', 'a = dict([(1, 2)])', '(', 'a: int = 1'),
    ],
)
def test_anything_that_runs_is_refused(text):
    with pytest.raises(UntrustedCheckpointError, match=r'^a\.pth holds a config'):
        read_config_text(text, 'a.pth')
