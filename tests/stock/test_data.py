"""Data through the tunnel: bulk, console, compressed."""

from .lab import GZIP, Flavour

SIZE = 64 * 2**20


def test_storage_round_trip(lab, tmp_path, record_property):
    program = lab.program("storage", "x", str(tmp_path), str(SIZE))
    done = program.event("done", 120)
    assert done["source"] == done["remote"] == done["back"]
    for way in ("write", "read"):
        rate = SIZE / 1e6 / done[f"{way}_seconds"]
        record_property(f"{way}_mb_per_s", round(rate, 1))
        print(f"storage {way}: {rate:.1f} MB/s")
    assert program.wait(30) == 0


def test_echo(lab):
    program = lab.program("echo", "x")
    print(f"echo median round trip: {program.event('done', 60)['median_ms']} ms")
    assert program.wait(30) == 0


def test_gzip(lab):
    gzip = Flavour(grpc_options=GZIP)
    lab.start_exporter("gzip", gzip)
    lab.shell("gzip", ["j", "power", "on"], gzip)
    program = lab.program("echo", "gzip", flavour=gzip)
    program.event("done", 60)
    assert program.wait(30) == 0
