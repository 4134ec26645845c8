import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.cache.sparse import DamagedBufferError, encode, expand

Bytes = npt.NDArray[np.uint8]

HEAD = 8  # bytes before the entries
FARTHEST = 65_535  # cells that two bytes can step over


def expanded(buffer: Bytes, shape: tuple[int, ...]) -> Bytes:
    frames = np.full(shape, 0xAA, np.uint8)  # all of it must be overwritten
    expand(buffer, frames)
    return frames


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(0, 9), min_size=1, max_size=4).map(tuple),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**32),
)
def test_frames_of_any_shape_and_density_come_back(shape: tuple[int, ...], share: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    frames = np.where(random.random(shape) < share, random.integers(1, 256, shape), 0).astype(np.uint8)
    np.testing.assert_array_equal(expanded(encode(frames), shape), frames)


@settings(max_examples=40, deadline=None)
@given(
    cells=st.integers(1, 300_000),
    places=st.lists(st.integers(0, 299_999), max_size=6),
    near=st.lists(st.sampled_from([0, 65_534, 65_535, 65_536, 131_070, 131_071, 196_605]), max_size=4),
)
def test_frames_with_gaps_longer_than_a_step_come_back(cells: int, places: list[int], near: list[int]) -> None:
    frames = np.zeros(cells, np.uint8)
    frames[[place % cells for place in places + near]] = 7
    np.testing.assert_array_equal(expanded(encode(frames), (cells,)), frames)


def test_a_set_cell_takes_three_bytes_and_a_stretch_of_65535_cells_three_more() -> None:
    frames = np.zeros((4, 2, 100, 100), np.uint8)  # 80,000 cells: one such stretch
    frames[0, 0, 3, :50] = 1
    assert len(encode(frames)) == HEAD + 3 * (50 + 1)


def test_frames_that_are_set_in_more_than_a_third_of_their_cells_take_a_byte_a_cell() -> None:
    frames = np.zeros(3000, np.uint8)
    frames[:999] = 1
    assert len(encode(frames)) == HEAD + 3 * 999
    frames[:1001] = 1
    assert len(encode(frames)) == HEAD + 3000


def test_frames_that_lie_scattered_in_memory_are_encoded_in_their_own_order() -> None:
    frames = np.arange(4 * 6 * 50, dtype=np.uint8).reshape(4, 6, 50)[:, ::2].transpose(2, 0, 1)
    np.testing.assert_array_equal(expanded(encode(frames), frames.shape), frames)


def test_a_buffer_at_an_odd_address_is_read() -> None:
    frames = np.zeros((2, 300), np.uint8)
    frames[1, 7:80:3] = 9
    moved = b"\0" + encode(frames).tobytes()
    np.testing.assert_array_equal(expanded(np.frombuffer(moved, np.uint8)[1:], frames.shape), frames)


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from([0x53, 0x44, 0x00]),
    cells=st.sampled_from([0, 1000, 1001, 2**55 - 1]),
    body=st.binary(max_size=1005),
)
def test_no_buffer_makes_expand_write_outside(kind: int, cells: int, body: bytes) -> None:
    room = np.full(1000 + 2 * 4 * FARTHEST, 0xAA, np.uint8)
    frames = room[4 * FARTHEST : -4 * FARTHEST]
    buffer = np.frombuffer((kind | cells << 8).to_bytes(HEAD, "little") + body, np.uint8)
    steps = np.frombuffer(body[: len(body) // 3 * 2], "<u2")
    sparse = kind == 0x53 and len(body) % 3 == 0 and int(steps.astype(np.int64).sum()) < 1000
    dense = kind == 0x44 and len(body) == 1000
    if cells == 1000 and (sparse or dense):
        expand(buffer, frames)
    else:
        with pytest.raises(DamagedBufferError, match="render it again"):
            expand(buffer, frames)
    assert (room[: 4 * FARTHEST] == 0xAA).all()
    assert (room[-4 * FARTHEST :] == 0xAA).all()


@settings(max_examples=60, deadline=None)
@given(length=st.integers(0, 600), place=st.integers(0, 600), value=st.integers(0, 255))
def test_a_buffer_that_is_cut_or_changed_is_refused_or_stays_inside(length: int, place: int, value: int) -> None:
    frames = np.zeros(4000, np.uint8)
    frames[::25] = 3
    buffer = encode(frames)[:length].copy()
    if place < len(buffer):
        buffer[place] = value
    room = np.full(4000 + 2 * 70_000, 0xAA, np.uint8)
    try:
        expand(buffer, room[70_000:-70_000])
    except DamagedBufferError:
        assert (room == 0xAA).all()  # a refusal comes before anything is written
    assert (room[:70_000] == 0xAA).all()
    assert (room[-70_000:] == 0xAA).all()


def test_frames_of_another_size_are_refused() -> None:
    buffer = encode(np.zeros((2, 30, 40), np.uint8))
    with pytest.raises(DamagedBufferError, match="2400 cells\\) is not one of 2460 cells"):
        expand(buffer, np.zeros((2, 30, 41), np.uint8))


def test_only_bytes_without_gaps_are_written_to() -> None:
    buffer = encode(np.zeros((2, 30, 40), np.uint8))
    with pytest.raises(ValueError, match="has gaps in memory"):
        expand(buffer, np.zeros((2, 30, 80), np.uint8)[:, :, ::2])
    with pytest.raises(ValueError, match="int16"):
        expand(buffer, np.zeros((2, 30, 40), np.int16))
