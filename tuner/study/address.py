"""Where a search's study is: a file in its folder, or the database that SPIKETUNE_STUDY_URL names."""

import os
from pathlib import Path
from urllib.parse import urlsplit

STUDY_FILE = "study.db"
URL_VARIABLE = "SPIKETUNE_STUDY_URL"
SQLITE = "sqlite:///"


def study_url(folder: Path) -> str:
    """The database's address: the environment's, which may hold a password, or a file in the folder."""
    return os.environ.get(URL_VARIABLE) or f"{SQLITE}{(folder / STUDY_FILE).absolute()}"


def told_url(url: str) -> str:
    """The address without user and password, for messages."""
    parts = urlsplit(url)
    return url if parts.username is None else url.replace(f"{parts.netloc.rpartition('@')[0]}@", "")
