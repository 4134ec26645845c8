"""A disk that really is full, as a file system in memory that no other process sees."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a file system of 2 MiB"),
]

TRAINING = """
import json, logging, sys
from pathlib import Path
import torch
from model.training.config import CheckpointConfig
from model.training.run_folder import RunFolder

said = []
handler = logging.Handler()
handler.emit = lambda record: said.append(record.getMessage())
logging.getLogger("model.training.run_folder").addHandler(handler)

place = Path(sys.argv[1])
(place / "ballast").write_bytes(bytes(1 << 20))
folder = RunFolder(place / "run", CheckpointConfig())
told = {}
for epoch in range(1, 6):
    if epoch == 5:
        (place / "ballast").unlink()
    numbers = 10 if epoch == 1 else 300_000  # the second state is larger than the room beside the ballast
    folder.save_state({"epoch": epoch, "x": torch.full((numbers,), float(epoch))})
    state = folder.load_state()
    told[epoch] = [
        state["epoch"], state["x"].unique().tolist(), folder.failed_writes, len(said),
        sorted(path.name for path in (place / "run").iterdir()),
    ]
print(json.dumps({"told": told, "said": said}))
"""


def test_training_goes_on_while_the_disk_is_full_and_writes_again_when_there_is_room(tmp_path: Path) -> None:
    # 2 MiB less 1 MiB of ballast: 1.2 MB do not fit, and do without the ballast.
    mounted = 'mount -t tmpfs -o size=2m none "$1" && exec "$2" -c "$3" "$1"'
    command = ["unshare", "--mount", "sh", "-c", mounted, "sh", str(tmp_path), sys.executable, TRAINING]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    alone = ["state.safetensors"]
    assert found["told"] == {
        "1": [1, [1.0], 0, 0, alone],
        "2": [1, [1.0], 1, 1, alone],
        "3": [1, [1.0], 2, 1, alone],
        "4": [1, [1.0], 3, 1, alone],
        "5": [5, [5.0], 3, 1, alone],
    }
    assert "No space left on device" in found["said"][0]
    assert list(tmp_path.iterdir()) == [], "nobody else saw it"
