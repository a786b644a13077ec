"""`mmsada data show`: a segment with its flow and its windows."""
