"""What a line sounds like, turned into facts: samples in, events out. numpy only, no I/O, no clock.

``ear`` is the only door. Behind it, every line at once and in any block length: ``levels``; ``vad`` with
``voice_features`` and ``voice_weights``; ``tones`` with ``tone_plan``; ``alert_tone``; ``dtmf`` with ``dtmf_segment``,
``dtmf_score`` and ``dtmf_weights``; ``callerid`` with ``fsk_templates``, ``fsk_decoder`` and ``clip_message``;
``dtmf_cli``, ``opt_out_key``, ``notice``; and for a line without sense wires ``line_sounds``, ``audio_line`` and
``call_shape``. What each reaches, beside other programs, is in ``tools/dsp_table.md``; how the digit score and the
voice network were trained, in ``tools/dsp_train``.
"""
