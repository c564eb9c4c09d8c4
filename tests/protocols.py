"""The protocols as their presets have them, with a border that tests choose."""

from srlab.metrics.protocol import Arithmetic, ColorSpace, GrayRule, ProtocolConfig


def basicsr(border, **changes):
    return ProtocolConfig(
        **{
            "name": "basicsr",
            "color": ColorSpace.y,
            "quantize": True,
            "border": border,
            "arithmetic": Arithmetic.double,
            "gray": GrayRule.replicate,
            **changes,
        }
    )


def elan(border):
    return basicsr(border, name="elan", quantize=False, arithmetic=Arithmetic.single)


def rgb(border):
    return basicsr(border, name="rgb", color=ColorSpace.rgb)


def published_y(border):
    return basicsr(
        border, name="published_y", arithmetic=Arithmetic.eight_bit, gray=GrayRule.own, bicubic_only=True
    )
