"""Import of videos: any clips become frames and optical flow in the layout of EPIC-Kitchens."""
