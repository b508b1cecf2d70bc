a = "1" b = "hunter2"
