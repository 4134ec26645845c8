"""Why is mAP zero: what a detector's vital signs say is wrong."""
