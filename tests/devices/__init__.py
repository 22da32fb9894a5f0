"""What is trained, scored and predicted on a device that is not the CPU, without having one."""
