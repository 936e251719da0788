"""Every place where data could become a program, here and in the packages we build on: a new one fails a test."""

import ast
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]

EXECUTING_MODULES = {
    *('_pickle', 'cloudpickle', 'code', 'codeop', 'dill', 'importlib', 'joblib', 'marshal', 'pickle', 'runpy'),
    *('shelve', 'submitit', 'torch.hub', 'torch.jit', 'torch.package', 'torch.utils.model_zoo', 'yaml'),
}
EXECUTING_BUILTINS = {'eval', 'exec', '__import__'}
EXECUTING_CALLS = {
    *('Unpickler', 'datafrombytes', 'fromfile', 'fromstring', 'full_load', 'get_class_weight', 'import_module'),
    *('load', 'loads', 'load_state_dict_from_url', 'load_url', 'run_module', 'run_path', 'unsafe_load'),
}
READING_CALLS = {'find_latest_checkpoint', 'from_pretrained', 'init_model', 'load_checkpoint', '_load_checkpoint'}
"""Calls of the host that read checkpoints through its one loader, which our tools replace."""


def programs(source: str, calls: set[str]) -> Iterator[str]:
    """Yield what a source names that could run data: whole modules, built-ins, functions, however they are called."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (f'import {name.name}' for name in node.names if name.name in EXECUTING_MODULES)
        elif isinstance(node, ast.ImportFrom):
            for name in node.names:
                whole = f'{node.module}.{name.name}'
                if node.module in EXECUTING_MODULES or whole in EXECUTING_MODULES or name.name in calls:
                    yield f'import {whole}'
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            if node.id in EXECUTING_BUILTINS:
                yield node.id
        elif isinstance(node, ast.Attribute) and node.attr in calls:
            owner = ast.unparse(node.value) if isinstance(node.value, ast.Name | ast.Attribute) else ''
            # NumPy's unpickles only if told to
            if owner not in ('json', 'np', 'numpy'):
                yield f'{owner}.{node.attr}'
        elif isinstance(node, ast.keyword) and node.arg == 'allow_pickle' and ast.unparse(node.value) != 'False':
            yield 'allow_pickle'


def found_in(folder: Path, root: Path, calls: set[str]) -> dict[str, set[str]]:
    found = {}
    for path in sorted(folder.rglob('*.py')):
        # .mim holds the host's own tools
        if '.mim' not in path.parts and (names := set(programs(path.read_text(), calls))):
            found[str(path.relative_to(root))] = names
    return found


OURS = {
    # what makes reading safe
    'cda_mmseg/utils/loading/allow_list.py': {'import pickle.UnpicklingError'},
    'cda_mmseg/utils/loading/plain_files.py': {
        *('import pickle', 'pickle.Unpickler', 'import yaml', '.load'),
        *('import mmseg.utils.io.datafrombytes', 'loading.datafrombytes'),
    },
    'cda_mmseg/utils/loading/safe_loading.py': {'import pickle', 'torch.load'},
    # a checkpoint, through the loader that the tools replace
    'cda_mmseg/engine/branching.py': {'runner.load_checkpoint'},
    # safetensors alone, and no code of theirs
    'cda_mmseg/models/backbones/transformers_backbone.py': {'library.AutoConfig.from_pretrained', '.from_pretrained'},
    # class weights from a file, under plain_files()
    'cda_mmseg/models/losses/pixel_loss.py': {'import mmseg.models.losses.utils.get_class_weight'},
    # configs are programs, and started as such
    'cda_mmseg/engine/composition.py': {'Config.fromfile'},
    'cda_mmseg/launch.py': {'Config.fromfile'},
    'cda_mmseg/experiments/sweep.py': {'Config.fromfile'},
    'cda_mmseg/inference/publish.py': {'Config.fromfile'},
    # a folder that this process's parent has just written
    'cda_mmseg/inference/check_published.py': {'torch.load', 'Config.fromfile', 'import mmseg.apis.init_model'},
    'cda_mmseg/paper/composition.py': {'Config.fromfile'},
    'cda_mmseg/engine/launch_record.py': {'Config.fromfile'},
    'cda_mmseg/report/run.py': {'Config.fromfile'},
    # pickles of its own jobs, in the sweep's folder
    'cda_mmseg/experiments/commands.py': {'import submitit'},
    # models of the tools that install the safe loader first
    'cda_mmseg/engine/checkpointing/fitting.py': {'import mmseg.apis.init_model'},
    'cda_mmseg/paper/pipeline_views.py': {'import mmseg.apis.init_model'},
    # names that only look alike
    'cda_mmseg/datasets/preparation/pairs.py': {'import steps.load'},
    'cda_mmseg/datasets/transforms/image_files.py': {'exif.load'},
    'cda_mmseg/environment.py': {'importlib.import_module'},
    'cda_mmseg/paper/paper_sweep.py': {'GradientSizes.load'},
}


def test_a_new_call_that_could_run_data_is_noticed_in_our_sources():
    """Whoever adds one says above why it is safe, and adds a test of that."""
    found = {}
    for folder in ('cda_mmseg', 'tools'):
        found |= found_in(ROOT / folder, ROOT, EXECUTING_CALLS | READING_CALLS)
    assert found == OURS


@pytest.mark.parametrize(
    'line',
    [
        *(
            'eval(text)',
            'list(map(exec, texts))',
            'handler.load(file)',
            'import pickle as p',
            'from pickle import loads',
        ),
        *('torch.load(path)', 'import marshal', 'yaml.load(text, yaml.Loader)', 'Config.fromstring(text, ".py")'),
        *('from torch import hub', 'np.load(path, allow_pickle=True)', 'apis.init_model(config, path)'),
        *('torch.jit.load(path)', 'runpy.run_path(path)', '__import__(name)', 'mmengine.load(path)'),
    ],
)
def test_the_search_finds_such_a_call(line):
    assert list(programs(line, EXECUTING_CALLS | READING_CALLS))


HOST = {
    'mmcv/cnn/rfsearch/search.py': 'names of operators from a config',
    'mmcv/ops/nms.py': 'names of operators from a config',
    'mmcv/utils/ext_loader.py': 'its own compiled operators',
    'mmengine/runner/_flexible_runner.py': 'the config in a checkpoint, as in runner.py',
    'mmengine/analysis/jit_analysis.py': 'traces a model, reads nothing',
    'mmengine/config/config.py': 'configs are programs',
    'mmengine/config/lazy.py': 'as before',
    'mmengine/config/utils.py': 'indices of installed packages, YAML: test_plain_files',
    'mmengine/dataset/base_dataset.py': 'pickles of its own in memory; annotations: test_plain_files',
    'mmengine/dist/dist.py': 'objects of processes of the same run',
    'mmengine/fileio/handlers/pickle_handler.py': 'replaced: test_plain_files',
    'mmengine/fileio/handlers/yaml_handler.py': 'replaced: test_plain_files',
    'mmengine/hooks/checkpoint_hook.py': 'writes pickles',
    'mmengine/hub/hub.py': 'configs of installed packages',
    'mmengine/infer/infer.py': 'the config in a checkpoint: test_safe_loading',
    'mmengine/registry/registry.py': 'types that a config names',
    'mmengine/runner/checkpoint.py': 'every reader of it is replaced: test_safe_loading',
    'mmengine/runner/runner.py': 'the config in a checkpoint: test_safety',
    'mmengine/testing/compare.py': 'tests',
    'mmengine/utils/dl_utils/hub.py': 'called by the replaced readers only: test_safe_loading',
    'mmengine/utils/misc.py': 'modules that a config names',
    'mmseg/apis/inference.py': 'configs are programs',
    'mmseg/apis/remote_sense_inferencer.py': 'configs are programs',
    'mmseg/datasets/decathlon.py': 'annotations: test_plain_files',
    'mmseg/datasets/onedl.py': 'a service of that name',
    'mmseg/datasets/transforms/loading.py': "decode_backend='pickle': test_plain_files; arrays without pickles",
    'mmseg/models/losses/cross_entropy_loss.py': 'class weights: test_plain_files',
    'mmseg/models/losses/huasdorff_distance_loss.py': 'class weights: test_plain_files',
    'mmseg/models/losses/lovasz_loss.py': 'class weights: test_plain_files',
    'mmseg/models/losses/tversky_loss.py': 'class weights: test_plain_files',
    'mmseg/models/losses/utils.py': 'class weights: test_plain_files; arrays without pickles',
    'mmseg/utils/class_names.py': 'a name out of a table',
    'mmseg/utils/io.py': "decode_backend='pickle': test_plain_files; arrays without pickles",
}
"""Where the host names such a call, and why no data of ours becomes a program there, or which test shows it."""


def test_a_new_call_that_could_run_data_is_noticed_in_the_host():
    lines = (ROOT / 'requirements' / 'locked.txt').read_text().splitlines()
    locked = (Requirement(line) for line in lines if line.startswith('onedl-'))
    if any(not pin.specifier.contains(version(pin.name)) for pin in locked):
        pytest.skip('looked through for the locked versions only')
    found = {}
    for package in ('mmengine', 'mmcv', 'mmseg'):
        folder = Path(find_spec(package).origin).parent
        found |= found_in(folder, folder.parent, EXECUTING_CALLS)
    assert {name for name in found if not name.endswith('__init__.py')} == set(HOST)


def test_no_source_calls_a_shell():
    sources = [path for folder in ('cda_mmseg', 'tools', 'benchmarks') for path in (ROOT / folder).rglob('*.py')]
    assert len(sources) > 80
    for path in sources:
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            place = f'{path.relative_to(ROOT)}:{call.lineno}'
            name = ast.unparse(call.func)
            assert not name.startswith(('os.system', 'os.popen', 'os.spawn', 'subprocess.get')), place
            assert not any(keyword.arg == 'shell' for keyword in call.keywords), place
