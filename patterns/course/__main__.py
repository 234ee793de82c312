"""`python -m patterns.course`: what make calls."""

import sys

from patterns.course.runner import main

sys.exit(main())
