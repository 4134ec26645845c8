"""The command on what this machine has cached."""

from typing import Annotated

import typer

from tuner.output import print_line


def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove the rendered windows that nobody uses.")] = False,
) -> None:
    """Show what this machine keeps of rendered windows and fetched shards."""
    from data.cache.machine_room import held_bytes
    from data.cache.place import clear as clear_windows
    from data.cache.place import disk_folder, memory_folder
    from data.cache.shared_folder import is_held
    from data.node_cache import cache_folder

    if clear:
        gone, used = clear_windows()
        for folder in gone:
            print_line(f"removed {folder}")
        for folder in used:
            print_line(f"kept {folder}: a process uses it")
    folders = {
        "windows in memory": memory_folder(),
        "windows on disk": disk_folder(),
        "fetched shards": cache_folder() / "shards",
    }
    for what, folder in folders.items():
        use = ", in use" if is_held(folder) else ""
        print_line(f"{what:18} {held_bytes(folder) / 1e6:12,.1f} MB  {folder}{use}")
