# SPDX-License-Identifier: MIT
"""Stand-ins for rpicam-still and rpicam-vid: an imx477 that is not there.

Put `tests/fakes/bin` on the PATH. Any python3 runs them; they need nothing beyond its standard library. They behave
as rpicam-apps 1.13 does: exit status 255 and `ERROR: *** … ***` on stderr, sizes rounded and cut without a word, the
picture written in place under its final name and the metadata after it, one process per camera. Not there: `--signal`,
`--timelapse`, `--raw`, other encodings than JPEG and MJPEG.

Environment (all optional):
    FAKE_RPICAM_HOME     folder that stands for the camera: whoever uses the same one uses the same camera. It may
                         hold `rpicam.fault`. Default: the folder of the program that was called.
    FAKE_RPICAM_PHOTO    a JPEG handed out where it has the size that is asked for; else a picture is generated.
    FAKE_RPICAM_SECONDS  how long a shot takes; default 0.05.
    FAKE_RPICAM_FAULT    what goes wrong, as in the file.

The file `rpicam.fault` is read at each start, and wins over the environment. It has one or more words:

    no-camera      none is found                     busy            another process holds it
    not-a-pi       unknown platform                  start-refused   status 255
    hang           never ends                        timeout-loop    never ends, and complains for ever
    ignore-term    with hang: TERM does nothing      stopped         stops itself (SIGSTOP)
    flood          100 MB on stderr, then a picture  flood-forever   …and no picture
    no-file        status 0 and no picture           half            status 0 and half a picture
    no-end         status 0, end marker missing      empty           status 0, picture of 0 bytes
    wrong-size     status 0, half as wide            write-error     status 255, half a picture
    crash          killed in mid-write               grandchild      leaves a process that holds its pipes
    old-time       SensorTimestamp before the call   future-time     SensorTimestamp an hour ahead
    bad-metadata   no JSON                           nan-metadata    bare nan in the JSON
    no-metadata    no metadata file                  noisy           harmless warnings of a Pi 5
    frozen         always the same picture           stuck-time      always the same SensorTimestamp
    silent-vid     rpicam-vid: no frames             short-vid       rpicam-vid: ends after 3 frames
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from typing import NoReturn

from fake_jpeg import make_jpeg, size_of, with_exif  # type: ignore[import-not-found]

MODEL = "imx477"
CAMERA_ID = "/base/soc/i2c0mux/i2c@1/imx477@1a"
MODES = (("SRGGB10_CSI2P", 1332, 990, 120.0), ("SRGGB12_CSI2P", 2028, 1520, 40.0), ("SRGGB12_CSI2P", 4056, 3040, 10.0))
FULL_SIZE = (4056, 3040)
FLOOD_BYTES = 100_000_000

_SHORT = {"-o": "output", "-t": "timeout", "-q": "quality", "-e": "encoding", "-n": "nopreview", "-v": "verbose"}
_FLAGS = {"immediate", "nopreview", "list-cameras", "version", "flush", "zsl", "hflip", "vflip"}
_VALUES = {
    "output", "timeout", "quality", "encoding", "metadata", "width", "height", "shutter", "gain", "analoggain",
    "camera", "thumb", "verbose", "awb", "awbgains", "denoise", "framerate", "codec", "frames", "mode", "ev",
    "metering",
}  # fmt: skip
_NUMBERS = {"quality", "width", "height", "camera", "frames"}
_UNITS = (("ms", 1000.0), ("us", 1.0), ("ns", 0.001), ("min", 60e6), ("sec", 1e6), ("s", 1e6))


def still() -> None:
    """Be rpicam-still."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    options = _parse(sys.argv[1:])
    faults = _faults()
    _start(options, faults)
    called_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    _say_mode(options)
    _go_wrong_before(faults)
    time.sleep(float(os.environ.get("FAKE_RPICAM_SECONDS", "0.05")))
    _say("Still capture image received\n")
    width, height = _real_size(options)
    if "wrong-size" in faults:
        width //= 2
    exposure_us, gain = _exposure(options)
    light = exposure_us / 100_000 * gain if "shutter" in options else 1.0
    _write_picture(options, _picture(width, height, light, faults), faults)
    _write_metadata(options, called_ns, exposure_us, gain, faults)
    if "grandchild" in faults:
        subprocess.Popen(["sleep", "300"])


def vid() -> None:
    """Be rpicam-vid with the mjpeg codec on stdout."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(0))
    options = _parse(sys.argv[1:])
    faults = _faults()
    _start(options, faults)
    _go_wrong_before(faults)
    if options.get("codec") != "mjpeg" or options.get("output") != "-":
        _fail("ERROR: *** the stand-in writes mjpeg to stdout only ***")
    if "silent-vid" in faults:
        _sleep_for_ever()
    options.setdefault("width", "640")
    options.setdefault("height", "480")
    width, height = _real_size(options)
    interval = 1 / float(options.get("framerate", "30"))
    pictures = [make_jpeg(width, height, bar=step / 24) for step in range(24)]
    frames = 3 if "short-vid" in faults else int(options.get("frames", "0")) or sys.maxsize
    held_back = b""
    try:
        for number in range(frames):
            data = held_back + pictures[number % len(pictures)]
            # Without --flush the end of a frame stays in the buffer of the C library until the next one.
            cut = len(data) if "flush" in options else max(0, len(data) - 4096)
            _write_all(data[:cut])
            held_back = data[cut:]
            time.sleep(interval)
        _write_all(held_back)
    except BrokenPipeError:
        _say("terminate called after throwing an instance of 'std::runtime_error'\n")
        _say("  what():  failed to write output bytes\n")
        os.abort()


def _parse(args: list[str]) -> dict[str, str]:
    """Read the command line as boost::program_options does; flags get an empty value."""
    options: dict[str, str] = {}
    rest = list(args)
    while rest:
        arg = rest.pop(0)
        if not arg.startswith("-") or arg == "-":
            continue  # extra arguments are taken without a word
        name, _, value = arg.partition("=")
        key = _SHORT.get(name) or _long_name(name)
        if key in _FLAGS:
            options[key] = ""
            continue
        if not value:
            if not rest:
                _fail(f"ERROR: *** the required argument for option '--{key}' is missing ***")
            value = rest.pop(0)
        if key in _NUMBERS and not value.lstrip("-").isdigit():
            _fail(f"ERROR: *** the argument ('{value}') for option '--{key}' is invalid ***")
        options[key] = value
    return options


def _long_name(name: str) -> str:
    found = sorted(known for known in _FLAGS | _VALUES if known.startswith(name[2:])) if len(name) > 2 else []
    if name[2:] in found:
        return name[2:]
    if not name.startswith("--") or len(found) != 1:
        _fail(f"ERROR: *** unrecognised option '{name}' ***")
    return found[0]


def _home() -> str:
    return os.environ.get("FAKE_RPICAM_HOME") or os.path.dirname(os.path.abspath(sys.argv[0]))  # noqa: PTH100, PTH120


def _faults() -> set[str]:
    try:
        with open(os.path.join(_home(), "rpicam.fault"), encoding="utf-8") as stream:  # noqa: PTH118, PTH123
            return set(stream.read().split())
    except FileNotFoundError:
        return set(os.environ.get("FAKE_RPICAM_FAULT", "").replace(",", " ").split())


def _start(options: dict[str, str], faults: set[str]) -> None:
    """Do what every rpicam tool does first; answers --version and --list-cameras, and takes the camera."""
    if "version" in options:
        sys.stdout.write("rpicam-apps build: v1.13.0 000000000000 01-01-2026 (00:00:00)\n")
        sys.stdout.write("libcamera build: v0.7.1+rpt20260429\n")
        sys.exit(0)
    if "not-a-pi" in faults:
        _fail("ERROR: rpicam-apps currently only supports the Raspberry Pi platforms.\nSee the documentation")
    # Locked as long as this process lives; not inherited by a grandchild.
    descriptor = os.open(_home(), os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_busy = "busy" in faults
    except BlockingIOError:
        is_busy = True
    if "list-cameras" in options:
        _list_cameras("no-camera" in faults, is_busy)
    uptime = time.clock_gettime(time.CLOCK_BOOTTIME)
    stamp = f"[{int(uptime // 3600)}:{int(uptime // 60 % 60):02d}:{uptime % 60:06.3f}] [{os.getpid()}] "
    _say(f"{stamp} INFO Camera camera_manager.cpp:340 libcamera v0.7.1+rpt20260429\n")
    if "no-camera" in faults:
        _fail("ERROR: *** no cameras available ***")
    if int(options.get("camera", "0")) != 0:
        _fail("ERROR: *** selected camera is not available ***")
    if is_busy:
        _say(f"{stamp} INFO Camera camera.cpp:1021 Pipeline handler in use by another process\n")
        _fail(f"ERROR: *** failed to acquire camera {CAMERA_ID} ***")
    if "noisy" in faults:
        _say("WARNING: Capture will not make use of temporal denoise\n         Consider using the --zsl option\n")
    if "start-refused" in faults:
        _fail("ERROR: *** failed to start camera ***")


def _list_cameras(is_missing: bool, is_busy: bool) -> NoReturn:
    if is_missing:
        sys.stdout.write("No cameras available!\n")
        sys.exit(0)
    text = f"Available cameras\n-----------------\n0 : {MODEL} [4056x3040 12-bit RGGB] ({CAMERA_ID})\n"
    last = ""
    for code, width, height, fps in MODES:
        head = "    Modes: " if not last else " " * 11
        name = f"'{code}' : " if code != last else " " * (len(code) + 5)
        crop = f"{fps:.2f} fps - (0, 0)/4056x3040" if not is_busy else "30.00 fps - (65535, 65535)/65535x65535"
        text += f"{head}{name}{width}x{height} [{crop} crop]\n"
        last = code
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
    sys.exit(0)


def _say_mode(options: dict[str, str]) -> None:
    width, height = options.get("width", FULL_SIZE[0]), options.get("height", FULL_SIZE[1])
    _say(f"Mode selection for {width}:{height}:12:P\n")
    for code, mode_width, mode_height, _ in MODES:
        _say(f"    {code},{mode_width}x{mode_height}/0 - Score: 1000\n")
    _say("Stream configuration adjusted\n")


def _go_wrong_before(faults: set[str]) -> None:
    if "ignore-term" in faults:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "stopped" in faults:
        os.kill(os.getpid(), signal.SIGSTOP)
    if faults & {"flood", "flood-forever"}:
        chunk = b"x" * 999 + b"\n"
        left = FLOOD_BYTES if "flood-forever" not in faults else sys.maxsize
        while left > 0:
            left -= os.write(2, chunk * 100)
    if "timeout-loop" in faults:
        while True:
            _say("ERROR RPI pipeline_base.cpp:1391 Camera frontend has timed out!\n")
            _say("ERROR: Device timeout detected, attempting a restart!!!\n")
            time.sleep(0.2)
    if faults & {"hang", "ignore-term"}:
        _sleep_for_ever()


def _write_picture(options: dict[str, str], jpeg: bytes, faults: set[str]) -> None:
    template = options.get("output", "")
    if faults & {"half", "write-error", "crash"}:
        jpeg = jpeg[: len(jpeg) // 2]
    elif "no-end" in faults:
        jpeg = jpeg[:-2]
    elif "empty" in faults:
        jpeg = b""
    if "no-file" in faults:
        return
    if template == "-":
        _write_all(jpeg)
        return
    try:
        # The name is a format for printf, and its buffer has room for 127 characters.
        name = template % 0 if template.count("%") == 1 else template.replace("%", "(nil)")
    except (TypeError, ValueError):
        name = template.replace("%", "(nil)")
    try:
        # In place: no temporary file, no rename.
        with open(name[:127], "wb", buffering=0) as stream:  # noqa: PTH123
            stream.writelines(jpeg[start : start + 65536] for start in range(0, len(jpeg), 65536))
    except OSError:
        _fail(f"ERROR: *** failed to open file {template} ***")
    if "crash" in faults:
        os.kill(os.getpid(), signal.SIGKILL)
    if "write-error" in faults:
        _fail("ERROR: *** failed to write file - output probably corrupt ***")


def _write_metadata(options: dict[str, str], called_ns: int, exposure_us: int, gain: float, faults: set[str]) -> None:
    if "metadata" not in options or faults & {"no-metadata", "no-file"}:
        return
    sensor_ns = called_ns
    if "old-time" in faults:
        sensor_ns -= 3_600_000_000_000
    if "future-time" in faults:
        sensor_ns += 3_600_000_000_000
    if "stuck-time" in faults:
        sensor_ns = 1_000_000_000
    lux = "nan" if "nan-metadata" in faults else "412.500000"
    digital = 1.0009765625
    text = (
        "{\n"
        f'    "SensorTimestamp": {sensor_ns},\n'
        f'    "ExposureTime": {exposure_us},\n'
        f'    "AnalogueGain": {gain / digital:.6f},\n'
        f'    "DigitalGain": {digital:.6f},\n'
        f'    "Lux": {lux},\n'
        '    "ColourTemperature": 4850,\n'
        '    "ColourGains": [ 2.114000, 1.893000 ],\n'
        '    "AeState": 2,\n'
        '    "ScalerCrop": "(0, 0)/4056x3040"\n'
        "}"
    )
    if "bad-metadata" in faults:
        text = text[: len(text) // 2]
    try:
        with open(options["metadata"], "w", encoding="utf-8") as stream:  # noqa: PTH123
            stream.write(text)
    except OSError:
        return  # the tool does not check this


def _picture(width: int, height: int, light: float, faults: set[str]) -> bytes:
    photo = os.environ.get("FAKE_RPICAM_PHOTO", "")
    if photo:
        with open(photo, "rb") as stream:  # noqa: PTH123
            data = stream.read()
        if size_of(data) == (width, height):
            return data
    bar = time.clock_gettime(time.CLOCK_BOOTTIME) / 10 % 1.0 if "frozen" not in faults else 0.25
    now = time.strftime("%Y:%m:%d %H:%M:%S")  # goes on when the sensor does not
    jpeg: bytes = with_exif(make_jpeg(width, height, bar, light), MODEL, now)
    return jpeg


def _real_size(options: dict[str, str]) -> tuple[int, int]:
    """Return what becomes of a size: odd ones are rounded down, negative and large ones become the sensor's."""
    sizes = []
    for key, full in zip(("width", "height"), FULL_SIZE):  # noqa: B905 (also for Python 3.9)
        asked = int(options.get(key, "0"))
        sizes.append(full if asked <= 0 or asked > full else max(2, asked // 2 * 2))
    return sizes[0], sizes[1]


def _exposure(options: dict[str, str]) -> tuple[int, float]:
    """Return microseconds and gain: as asked for, else what an automatic might choose."""
    text = options.get("shutter", "0")
    factor = 1.0
    for unit, per_unit in _UNITS:
        if text.endswith(unit):
            text, factor = text[: -len(unit)], per_unit
            break
    asked_us = float(text) * factor
    gain = float(options.get("gain", options.get("analoggain", "0")))
    return int(asked_us) or 19998, gain or 2.0


def _say(text: str) -> None:
    os.write(2, text.encode())


def _fail(message: str) -> NoReturn:
    _say(message + "\n")
    os._exit(255)


def _write_all(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def _sleep_for_ever() -> NoReturn:
    while True:
        time.sleep(3600)
