"""The native kernels. They know arrays, and nothing of files, ids or objectives; their modules' Python twins give
them meaning."""
