"""`mmsada data import-videos`: clips of several sites become frames and optical flow."""
