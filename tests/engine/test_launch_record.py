from cda_mmseg.engine.launch_record import changes_of_leaf


def test_a_leaf_is_compared_with_its_bases(tmp_path):
    (tmp_path / 'network.py').write_text("model = dict(head=dict(type='A', size=1), channels=[1, 2], gone=1)\n")
    (tmp_path / 'schedule.py').write_text('rate = 0.1\n')
    leaf = tmp_path / 'leaf.py'
    leaf.write_text(
        "_base_ = ['network.py', 'schedule.py']\n"
        "model = dict(head=dict(_delete_=True, type='B'), channels=[1, 3], new=dict(a=1))\n_base_.rate = 0.2\n"
        "extra = 'x'\n"
    )
    assert set(changes_of_leaf(leaf)) == {
        "model.head: {'type': 'A', 'size': 1} → {'type': 'B'}",
        'model.channels.1: 2 → 3',
        "model.new: {'a': 1}",
        'rate: 0.1 → 0.2',
        "extra: 'x'",
    }
    leaf.write_text("_base_ = 'network.py'\nmodel = dict(_delete_=True, head=dict(type='A', size=1))\n")
    assert changes_of_leaf(leaf) == ['model.channels: [1, 2] → left out', 'model.gone: 1 → left out']


def test_a_config_without_bases_changes_nothing(tmp_path):
    (tmp_path / 'whole.py').write_text('rate = 0.1\n')
    assert changes_of_leaf(tmp_path / 'whole.py') == []
