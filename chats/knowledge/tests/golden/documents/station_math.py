"""Small formulas used by the gateway and by the evaluation of the test field.

Everything here is plain arithmetic on floats, without any dependency, so that
the same file can run on a gateway with 64 megabytes of memory. Temperatures
are in degrees Celsius, pressures in hectopascal, speeds in metres per second
and angles in degrees, unless a name says otherwise. Missing readings are None
and every function passes None through instead of guessing a value.

Keeper: Lukas Fenz, Oslo. Questions about the constants: Yusuf Demir.
"""

import math

# Magnus coefficients over water, from the paper which the humidity laboratory
# has used since 2017. Over ice the pair is 22.46 and 272.62.
MAGNUS_B = 17.62
MAGNUS_C = 243.12

# A gust is the largest mean over three seconds. Do not change this to one
# second again: in 2022 that made every storm 9 per cent stronger overnight.
GUST_SECONDS = 3

# Below this speed the direction of the wind means nothing and is left out.
CALM_LIMIT = 0.5

# Voltages at which a station saves energy, see the power chapter of the manual.
SAVE_VOLTAGE = 3.3
RADIO_OFF_VOLTAGE = 3.1


def dew_point(temperature, humidity):
    """Dew point from air temperature and relative humidity in per cent.

    Valid from -45 to +60 degrees. A humidity of zero has no dew point, so
    anything below one per cent is treated as one per cent.
    """
    if temperature is None or humidity is None:
        return None
    humidity = max(humidity, 1.0)
    gamma = math.log(humidity / 100.0) + MAGNUS_B * temperature / (MAGNUS_C + temperature)
    return MAGNUS_C * gamma / (MAGNUS_B - gamma)


def sea_level_pressure(pressure, height, temperature):
    """Reduce the pressure of a station to sea level.

    Uses the temperature of the station and a lapse rate of 0.65 degrees per
    100 metres. Above 2,500 metres the result is a fairy tale and the function
    returns None rather than telling it.
    """
    if pressure is None or temperature is None or height > 2500:
        return None
    kelvin = temperature + 273.15
    ratio = 1.0 - 0.0065 * height / (kelvin + 0.0065 * height)
    return pressure * ratio**-5.257


def mean_direction(directions, speeds):
    """Mean wind direction, computed with vectors.

    The arithmetic mean of 350 and 10 is 180, which is how north became south
    in the hourly values of firmware 3.1 to 3.3. Calm readings are ignored; if
    nothing but calm remains the answer is None.
    """
    east = north = 0.0
    counted = 0
    for direction, speed in zip(directions, speeds, strict=True):
        if direction is None or speed is None or speed < CALM_LIMIT:
            continue
        east += math.sin(math.radians(direction))
        north += math.cos(math.radians(direction))
        counted += 1
    if not counted:
        return None
    return math.degrees(math.atan2(east, north)) % 360.0


def gust(samples, per_second=1):
    """Largest mean over GUST_SECONDS within a list of speed samples."""
    window = GUST_SECONDS * per_second
    if len(samples) < window:
        return None
    best = running = sum(samples[:window])
    for index in range(window, len(samples)):
        running += samples[index] - samples[index - window]
        best = max(best, running)
    return best / window


def rain_from_tips(tips, minutes, correction=0.0024):
    """Rain in millimetres from the tips of an RG-15.

    One tip is a tenth of a millimetre. While the bucket turns, for about half
    a second, water is lost; the correction grows with the number of tips per
    minute and was fitted at six intensities in the laboratory.
    """
    if tips is None or minutes <= 0:
        return None
    rate = tips / minutes
    return 0.1 * tips * (1.0 + correction * rate)


def soil_moisture(delay, kind="mineral"):
    """Volumetric water content in per cent from the delay of a BF-7 signal.

    The delay is relative to air. Peat needs its own line because it holds
    so much bound water; using the mineral curve there reads 11 points low.
    """
    curves = {
        "mineral": (-5.3, 2.92, -0.055),
        "clay": (-7.1, 3.10, -0.058),
        "peat": (3.4, 2.64, -0.031),
    }
    if delay is None:
        return None
    a, b, c = curves[kind]
    return min(max(a + b * delay + c * delay * delay, 0.0), 100.0)


def next_interval(voltage, wanted_minutes):
    """Minutes until the next message, depending on the battery.

    Returns None when the radio has to stay silent and the station only
    records. The one hour of the saving mode is never made shorter by a wish.
    """
    if voltage < RADIO_OFF_VOLTAGE:
        return None
    if voltage < SAVE_VOLTAGE:
        return max(60, wanted_minutes)
    return wanted_minutes


def wind_chill(temperature, speed):
    """Felt temperature after the formula of 2001, speed at ten metres height.

    Only defined up to 10 degrees and from 1.3 metres per second; outside of
    this the air temperature itself is returned, because people complained
    about gaps in the chart.
    """
    if temperature is None or speed is None:
        return None
    if temperature > 10.0 or speed < 1.3:
        return temperature
    power = (speed * 3.6) ** 0.16
    return 13.12 + 0.6215 * temperature - 11.37 * power + 0.3965 * temperature * power
