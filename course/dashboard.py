"""The dashboard's command, `python -m course.dashboard RUN`; the dashboard is in `course.training.dashboard`."""

import sys

from course.training.dashboard import main

if __name__ == "__main__":
    sys.exit(main())
