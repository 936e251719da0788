"""The suite: processes of their own, tables that keep what is not measured again, busy machines."""

import json
import os
import re
from pathlib import Path

import pytest

from benchmarks import __main__ as program
from benchmarks import measuring
from benchmarks.suite import REPORTS, TABLES, measure, read_results, results_path, write_results

ROOT = Path(__file__).resolve().parents[2]
MODULES = {'made_up': 'tests.benchmarks.made_up_rows', 'dying': 'tests.benchmarks.dying_rows'}


def made_up(name: str, date: str, **changes) -> dict:
    row = dict(name=name, against='theirs', ratio=0.5, must=0.6, aim=0.4, ours='1 s', theirs='2 s')
    return dict(date=date, command='command', machine='machine', load=0.1, rows=[{**row, **changes}])


def test_a_process_that_dies_is_named():
    with pytest.raises(RuntimeError, match=r'The process of tests.benchmarks.dying_rows died'):
        measure('dying', 'cpu', 1, 0.0, MODULES)


def test_rows_that_are_not_measured_again_stay(tmp_path):
    path = results_path(tmp_path / 'results', 'cuda:0')
    assert path.name == 'benchmarks_cuda_0' and read_results(path) == {}
    first = {'data': made_up('reading', 'monday'), 'loss': made_up('CL', 'monday')}
    write_results(path, first)
    results = read_results(path)
    assert results == first and list(results) == ['loss', 'data']
    results['loss'] = made_up('CL', 'tuesday', ratio=0.7)
    results['reliability'] = dict(made_up('', 'tuesday'), text='1 s | stopping')
    del results['reliability']['rows']
    write_results(path, results)

    document = path.with_suffix('.md').read_text()
    sections = re.split(r'^## ', document, flags=re.M)[1:]
    assert [section.split()[0] for section in sections] == ['loss', 'data', 'reliability']
    assert '| CL | theirs | 0.70× | ≤ 0.6× **missed** |' in sections[0] and 'tuesday, `command`, machine' in sections[0]
    assert '| reading | theirs | 0.50× | ≤ 0.6× reached |' in sections[1] and 'monday' in sections[1]
    assert '```\n1 s | stopping\n```' in sections[2]
    assert '(benchmarks_cuda_0.svg)' in document
    assert {file.name for file in path.parent.iterdir()} == {
        f'benchmarks_cuda_0{suffix}' for suffix in ('.json', '.md', '.png', '.svg')
    }
    assert '0.70×' in path.with_suffix('.svg').read_text()
    assert json.loads(path.with_suffix('.json').read_text())['data'] == first['data']


def test_a_damaged_file_is_named(tmp_path):
    path = results_path(tmp_path, 'cpu')
    Path(f'{path}.json').write_text('{"loss": ')
    with pytest.raises(ValueError, match=r'benchmarks_cpu\.json is no JSON .* delete it'):
        read_results(path)


def test_a_busy_machine_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(os, 'getloadavg', lambda: (2.0, 0.0, 0.0))
    monkeypatch.setattr(measuring, 'BUSY_LOAD', 1.9)
    with pytest.raises(SystemExit) as ending:
        program.main(['--out', str(tmp_path)])
    assert ending.value.code == 1
    assert re.fullmatch(r'The machine is busy \(load .*\): no table\. Try again later\.\n', capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []
    # A quiet one is not.
    monkeypatch.setattr(measuring, 'BUSY_LOAD', 2.1)
    assert measuring.busy() is None


def test_what_a_gpu_does_not_change_is_not_measured_on_it(capsys):
    with pytest.raises(SystemExit):
        program.main(['--device', 'cuda', '--only', 'loss', 'data'])
    assert 'data: measured on a CPU only' in capsys.readouterr().err


@pytest.mark.parametrize('option', [None, '--allow-busy', '--beside-work'])
def test_the_program_writes_on_a_quiet_machine_or_says_that_it_was_none(option, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(TABLES, 'made_up', MODULES['made_up'])
    monkeypatch.setattr(measuring, 'BUSY_LOAD', -1.0 if option else 1e9)
    program.main(['--only', 'made_up', '--threads', '1', '--out', str(tmp_path), *([option] if option else [])])
    printed = capsys.readouterr().out
    assert '0.50× | ≤ 0.6× reached | ≤ 0.4× **missed** |' in printed
    assert ('Nothing was written.' in printed) == (option == '--allow-busy')
    if option == '--allow-busy':
        assert list(tmp_path.iterdir()) == []
        return
    measured = read_results(results_path(tmp_path, 'cpu'))['made_up']
    (row,) = measured['rows']
    # In a process of its own, with the threads asked for.
    assert (row['name'], row['against']) == ('process on cpu with 1 threads', f'parent {os.getpid()}')
    assert measured['command'] == 'python -m benchmarks --only made_up --device cpu --threads 1'
    assert '1 threads' in measured['machine'] and measured['load'] >= 0
    document = (tmp_path / 'benchmarks_cpu.md').read_text()
    assert row['name'] in document and ('beside other work' in document) == (option == '--beside-work')


def test_commands_in_documents_name_benchmarks():
    documents = [*ROOT.glob('*.md'), *ROOT.glob('docs/**/*.md'), *ROOT.glob('benchmarks/*.py'), ROOT / 'Makefile']
    text = '\n'.join(document.read_text() for document in documents)
    assert 'python benchmarks/' not in text
    named = set(re.findall(r'-m benchmarks\.(\w+)', text))
    assert {'loss', 'data', 'counts'} <= named
    assert [name for name in named if not (ROOT / 'benchmarks' / f'{name}.py').is_file()] == []
    chosen = {name for names in re.findall(r'--only ([a-z][a-z-]*(?: [a-z][a-z-]*)*)', text) for name in names.split()}
    assert chosen <= {*TABLES, *REPORTS}
