"""What is found out, as data that travels as JSON: nothing of it is judged here."""

from pydantic import BaseModel, ConfigDict


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Questions(_Facts):
    """What to find out of the nodes."""

    address: str | None  # Ray's; None: this machine alone, without Ray
    shared: str | None  # the place every node shall see: a folder, or the URL of an object store
    dataset: str | None
    patience_s: float  # for one answer of a node


class Disk(_Facts):
    """Room at a place."""

    place: str  # what lies there
    path: str
    free_gb: float
    total_gb: float


class Listener(_Facts):
    """A TCP port that something listens at."""

    address: str
    port: int


class SecretFile(_Facts):
    """A file that only its owner should read."""

    path: str
    mode: int


class SharedFacts(_Facts):
    """The shared place, seen from one node; empty where all is well."""

    wrong_writing: str = ""
    wrong_reading: str = ""  # of what another node wrote


class DatasetFacts(_Facts):
    """The dataset, seen from one node."""

    digest: str = ""
    wrong: str = ""


class NodeFacts(_Facts):
    """What one node says of itself."""

    node: str  # its address, and its name where that says more
    silent: str = ""  # why it says nothing, or no more
    versions: dict[str, str] = {}
    ray_gpus: float = 0.0
    torch_gpus: int | None = None  # None: nobody has asked, for there is no sign of one
    torch_wrong: str = ""
    auth_mode: str = ""  # RAY_AUTH_MODE of what runs there
    ahead_s: float | None = None  # its clock before the doctor's
    unsure_s: float = 0.0  # of `ahead_s`
    disks: tuple[Disk, ...] = ()
    listeners: tuple[Listener, ...] = ()
    own_ports: tuple[int, ...] = ()  # of Ray's processes, which it binds by itself
    secrets: tuple[SecretFile, ...] = ()
    shared: SharedFacts | None = None
    dataset: DatasetFacts | None = None


class ClusterFacts(_Facts):
    """The nodes, and where Ray is spoken to."""

    nodes: tuple[NodeFacts, ...] = ()
    lost: tuple[str, ...] = ()  # nodes that went without a word and have not come back
    gcs_port: int | None = None
    dashboard: str | None = None  # HOST:PORT
    wrong: str = ""  # why there is no cluster


class Answer(_Facts):
    """To an HTTP request."""

    status: int | None = None
    wrong: str = ""  # why there is none
    says: str = ""


class MlflowFacts(_Facts):
    """MLflow's server."""

    uri: str
    known: Answer | None = None  # to us, with our password; None: it is a database, no server
    stranger: Answer | None = None  # to one without


class StudyFacts(_Facts):
    """The database of studies; empty where all is well."""

    place: str  # without user and password
    wrong_connecting: str = ""
    wrong_writing: str = ""
    lets_strangers_in: bool = False  # our user without its password
