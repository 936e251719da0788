"""Evaluation of the teacher: its very predictions, and a student that never notices."""

import copy

import pytest
import torch

from cda_mmseg.engine.runner import UDARunner
from cda_mmseg.utils.loading import load_checkpoint_file
from cda_mmseg.visualization.run_log import read_run_log

LEAF = 'self_training_gta2city_deeplabv2_r101'
HOOK = dict(type='TeacherEvaluationHook')


def build(smoke_config, work_dir, hook=True, **settings):
    config = smoke_config(LEAF)
    config.work_dir = str(work_dir)
    config.train_cfg.val_interval = 2
    config.model.adaptations.self_training.update(begin=0.5, momentum=0.5)
    config.default_hooks.checkpoint.interval = 2
    config.custom_hooks = [*config.custom_hooks, *([HOOK] if hook else [])]
    config.optim_wrapper.encoder.optimizer.lr = 0.05
    config.update(settings)
    return UDARunner.from_cfg(config)


def scores(work_dir):
    return {
        name: dict(zip(curve.steps, curve.values, strict=True))
        for name, curve in read_run_log(work_dir).validation.items()
    }


def test_validation_and_test_score_the_teacher(smoke_config, tmp_path):
    """After training as without the hook; a plain network with the teacher's weights has the same scores."""
    run = build(smoke_config, tmp_path / 'teacher')
    run.train()
    plain = build(smoke_config, tmp_path / 'student', hook=False)
    plain.train()
    weights = load_checkpoint_file(str(tmp_path / 'teacher' / 'iter_4.pth'))['state_dict']
    without = load_checkpoint_file(str(tmp_path / 'student' / 'iter_4.pth'))['state_dict']
    assert weights.keys() == without.keys()
    assert all(torch.equal(value, without[name]) for name, value in weights.items())

    prefix = 'adaptations.self_training.teacher.network.'
    teacher = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    assert not all(torch.equal(value, weights[name]) for name, value in teacher.items())
    torch.save(teacher, tmp_path / 'published.pth')
    tested = [
        build(smoke_config, tmp_path / f'test{number}', hook, load_from=str(path)).test()
        for number, (hook, path) in enumerate(
            [(True, tmp_path / 'teacher' / 'iter_4.pth'), (False, tmp_path / 'published.pth')]
        )
    ]
    assert tested[0] == pytest.approx(tested[1], rel=0, abs=0, nan_ok=True)
    names = ('target/mIoU', 'source/mIoU')
    ours, students = scores(tmp_path / 'teacher'), scores(tmp_path / 'student')
    for name in names:
        assert ours[name][4] == pytest.approx(tested[0][name], abs=0.01)
        # Before the teacher has begun the student is scored.
        assert ours[name][2] == students[name][2]
    assert any(ours[name][4] != students[name][4] for name in names)


def test_a_teacher_that_has_not_begun_is_not_tested(smoke_config, tmp_path):
    build(smoke_config, tmp_path, train_cfg=dict(type='UDATrainLoop', max_iters=4, val_interval=9)).train()
    with pytest.raises(ValueError, match=r'has not begun in .*iter_2\.pth'):
        build(smoke_config, tmp_path / 'test', load_from=str(tmp_path / 'iter_2.pth')).test()


def test_a_model_without_that_teacher_is_named(smoke_config, tmp_path):
    runner = build(smoke_config, tmp_path)
    hook = next(hook for hook in runner.hooks if type(hook).__name__ == 'TeacherEvaluationHook')
    hook = copy.copy(hook)
    hook.adaptation = 'other'
    with pytest.raises(ValueError, match=r"no teacher in adaptations\.other, but in \['self_training'\]"):
        hook.before_run(runner)
