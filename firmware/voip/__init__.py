"""The telephone line that comes over a network: packets with their time and port in, line events and audio out.

Sans-IO: nothing here opens a socket, reads a clock or writes a log. ``trunk.Trunk`` is the whole of it to the outside;
``output`` lists everything it can say. Packets come from ``hw/netport`` (live) or from a capture file (replay).
"""
