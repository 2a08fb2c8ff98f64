"""Reading takes time in proportion to the file, also where the file is odd."""

import json
import logging
import time

import pytest
from toys import collect, put

from dataset_scripts.formats import read_any


JSONL = json.dumps({"text": "Gout hurts.", "entities": [{"start": 0, "end": 4, "type": "Disease"}]}) + "\n"


@pytest.mark.parametrize(("name", "before", "repeated", "times"), [
    ("c.conll", "", "Gout\tB-Disease\nhurts\tO\n\n", 20_000),
    ("c.conll", "", "Gout\tB-Disease\nhurts\tO\n", 20_000),  # one sentence
    ("c.conll", "", "# a comment\n", 40_000),
    ("c.conll", "", "x\tB-{n}\n", 20_000),  # as many types
    ("c.pubtator", "", "{n}|t|Gout hurts.\n{n}|a|It does.\n{n}\t0\t4\tGout\tDisease\n\n", 8_000),
    ("c.pubtator", "1|t|Gout\n1|a|\n", "An abstract that goes on.\n", 80_000),
    ("c.pubtator", "", "1|t|Gout hurts {n} times.\n1\t0\t4\tGout\tDisease\n\n", 8_000),  # texts of one id
    ("c.jsonl", "", JSONL, 8_000),
    ("c.csv", "document_id,text,start,end,type\n", "1,Gout hurts.,0,4,Disease\n", 15_000),
])  # fmt: skip
def test_four_times_the_file_takes_about_four_times_the_time(tmp_path, caplog, name, before, repeated, times):
    caplog.set_level(logging.ERROR)
    seconds = []
    for factor in (1, 4):
        lines = (repeated.replace("{n}", str(n)) for n in range(factor * times // 2))
        path = put(tmp_path / name, before + "".join(lines))
        seconds.append(min(measure(path) for _ in range(3)))
    assert seconds[1] < 10 * seconds[0]  # 16, if it were quadratic


def measure(path) -> float:
    start = time.process_time()
    collect(read_any(path))
    return time.process_time() - start
