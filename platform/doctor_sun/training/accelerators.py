"""What accelerators can do at most, as their makers publish it."""

from dataclasses import dataclass

from doctor_sun.errors import InputError

TERA, GIB = 10**12, 1 << 30


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """One kind of GPU."""

    peak: float  # operations a second, bfloat16 (V100: float16), dense
    memory: int  # bytes


ACCELERATORS = {
    "V100": Accelerator(peak=125 * TERA, memory=32 * GIB),
    "A100-40GB": Accelerator(peak=312 * TERA, memory=40 * GIB),
    "A100": Accelerator(peak=312 * TERA, memory=80 * GIB),
    "A800": Accelerator(peak=312 * TERA, memory=80 * GIB),
    "L40S": Accelerator(peak=362 * TERA, memory=48 * GIB),
    "H800": Accelerator(peak=989 * TERA, memory=80 * GIB),
    "H100": Accelerator(peak=989 * TERA, memory=80 * GIB),
    "H20": Accelerator(peak=148 * TERA, memory=96 * GIB),
    "H200": Accelerator(peak=989 * TERA, memory=141 * GIB),
    "B200": Accelerator(peak=2250 * TERA, memory=180 * GIB),
}


@dataclass(kw_only=True)
class AcceleratorConfig:
    """What an estimate reckons with."""

    name: str = "H100"
    """Kind of GPU, one for each worker: V100, A100-40GB, A100, A800, L40S, H800, H100, H20, H200
    or B200."""

    utilisation: float = 0.35
    """Share of its peak that the stage is taken to reach (model FLOPs utilisation)."""

    price_per_hour: float = 0.0
    """What an hour of one costs, in your currency; 0 prints no price."""

    def __post_init__(self) -> None:
        """Refuse a kind that is not in the table."""
        if self.name not in ACCELERATORS:
            raise InputError(f"accelerator.name '{self.name}': known are {', '.join(ACCELERATORS)}")

    def hours(self, operations: float) -> float:
        """Hours that one of them takes."""
        return operations / (ACCELERATORS[self.name].peak * self.utilisation) / 3600


def accelerator_of(device_name: str) -> Accelerator | None:
    """The accelerator that a driver's device name means (`NVIDIA H100 80GB HBM3`), if known."""
    words = device_name.replace("-", " ").split()
    found = [name for name in ACCELERATORS if name.split("-")[0] in words]
    return ACCELERATORS[found[-1]] if found else None
