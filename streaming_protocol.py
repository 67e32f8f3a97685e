"""Frames of the streaming protocol, under the name that existing clients import."""

from server.protocol_v1 import FRAME_HEADER_STRUCT, build_binary_frame_payload, parse_binary_frame

__all__ = ["FRAME_HEADER_STRUCT", "build_binary_frame_payload", "parse_binary_frame"]
