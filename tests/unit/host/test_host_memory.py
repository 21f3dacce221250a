"""The machine's own memory: the tightest bound counts, file cache does not."""

from pathlib import Path

from roost.host.host_memory import HostMemory, kept_by, read

GIB = 1 << 30
KIB = 1024


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def machine(root: Path, total_gib: int, free_gib: int) -> None:
    write(root / "proc/meminfo", f"MemTotal: {total_gib << 20} kB\nMemFree: 1 kB\nMemAvailable: {free_gib << 20} kB\n")


def group(root: Path, path: str, limit: str, current: int, stat: str = "") -> None:
    folder = root / "sys/fs/cgroup" / path
    write(folder / "memory.max", f"{limit}\n")
    write(folder / "memory.current", f"{current}\n")
    write(folder / "memory.stat", stat)


def test_machine_without_bounds(tmp_path: Path) -> None:
    machine(tmp_path, 64, 40)
    assert read(tmp_path) == HostMemory(size=64 * GIB, used=24 * GIB)


def test_a_container_s_limit_counts_and_its_file_cache_does_not(tmp_path: Path) -> None:
    machine(tmp_path, 64, 40)
    write(tmp_path / "proc/self/cgroup", "0::/\n")
    group(tmp_path, "", str(16 * GIB), 10 * GIB, f"anon {2 * GIB}\nfile {7 * GIB}\nshmem {GIB}\n")
    assert read(tmp_path) == HostMemory(size=16 * GIB, used=4 * GIB)


def test_the_tightest_of_nested_groups_counts(tmp_path: Path) -> None:
    machine(tmp_path, 64, 40)
    write(tmp_path / "proc/self/cgroup", "1:name=systemd:/\n0::/user/roost\n")
    group(tmp_path, "user/roost", "max", GIB)
    group(tmp_path, "user", str(32 * GIB), 31 * GIB)
    assert read(tmp_path) == HostMemory(size=32 * GIB, used=31 * GIB)


def test_a_machine_that_is_full_leaves_less_than_the_limit(tmp_path: Path) -> None:
    machine(tmp_path, 64, 2)
    write(tmp_path / "proc/self/cgroup", "0::/\n")
    group(tmp_path, "", str(16 * GIB), GIB)
    assert read(tmp_path) == HostMemory(size=16 * GIB, used=14 * GIB)


def test_the_older_kind_of_groups(tmp_path: Path) -> None:
    machine(tmp_path, 64, 40)
    write(tmp_path / "proc/self/cgroup", "4:memory:/job/1\n0::/\n")
    folder = tmp_path / "sys/fs/cgroup/memory"
    write(folder / "memory.limit_in_bytes", "9223372036854771712\n")
    write(folder / "memory.usage_in_bytes", "1\n")
    write(folder / "job/memory.limit_in_bytes", f"{8 * GIB}\n")
    write(folder / "job/memory.usage_in_bytes", f"{5 * GIB}\n")
    write(folder / "job/memory.stat", f"cache 1\ntotal_cache {3 * GIB}\ntotal_shmem {GIB}\n")
    assert read(tmp_path) == HostMemory(size=8 * GIB, used=3 * GIB)


def test_a_system_that_does_not_tell(tmp_path: Path) -> None:
    assert read(tmp_path) is None


def test_what_processes_keep_is_without_files(tmp_path: Path) -> None:
    write(tmp_path / "proc/7/status", "Name: x\nRssAnon:\t100 kB\nRssFile:\t900 kB\nRssShmem:\t20 kB\n")
    assert kept_by([7, 8], tmp_path) == 120 * KIB


def test_this_machine_has_some() -> None:
    found = read()
    assert found is not None
    assert 0 < found.used < found.size
