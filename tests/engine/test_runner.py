"""What runs of one process share."""

import time

from cda_mmseg.engine import UDARunner


def test_runs_of_one_second_have_their_own_log_and_visualizer(smoke_config, tmp_path, monkeypatch):
    runners = []
    for name in ('one', 'other', 'third'):
        config = smoke_config('source_only_gta2city')
        config.work_dir = str(tmp_path / name)
        with monkeypatch.context() as patch:
            patch.setattr(time, 'time', lambda: 1.7e9)
            runners.append(UDARunner.from_cfg(config))
    assert len({runner.timestamp for runner in runners}) == 1
    for kind in ('logger', 'message_hub', 'visualizer'):
        assert len({id(getattr(runner, kind)) for runner in runners}) == 3
    for runner in runners:
        for backend in runner.visualizer._vis_backends.values():
            assert backend._save_dir.startswith(runner.work_dir)
        assert runner.logger.log_file.startswith(runner.work_dir)
