# %% [markdown]
# # Contents
#
# Fourteen chapters take you from the first box to a detector made of your own functions, in some 18 hours with all
# exercises. A short path of two evenings is 00, 02, 03, 04, 10 and 11. A title opens its chapter.
#
# Run the cell below (<kbd>Shift</kbd>+<kbd>Enter</kbd>): in your own copy it shows a tick for every exercise whose check
# said *right*, and how each self-test went. The ticks stay up to date while you work on other pages.

# %% tags=["nbval-ignore-output"]
from course.kit.contents import Contents

Contents()

# %% [markdown]
# ## Your pages
#
# `make lab` opens your own copy of the chapters in the folder `my_course`, or in the one that the environment variable
# `COURSE_HOME` names. What you write there is yours: if there is a newer version of the course, the next `make lab`
# merges it into your copy, and your cells stay. What you have solved is kept in `progress.jsonl` beside the pages. Some
# exercises are *building blocks*: their solutions are also kept in `my_ssd.py`, which chapter 13 trains with.
#
# If you want to begin a page again, close it and run this in a terminal in the course's folder (here for chapter 03):
#
# ```
# make afresh PAGE=03
# ```
#
# Your version of that page is kept in `my_course/aside`.
#
# ## When memory is short
#
# Every page that you have run keeps a *kernel*, the Python process that computes for it, and a kernel that has loaded
# PyTorch holds 0.6 to 1.4 GB. Closing a tab doesn't end its kernel. At the end of each chapter, below the self-test, a
# button shuts the chapter's kernel down and opens the next page. JupyterLab lists all kernels under the square in its
# left side bar, with a button to shut each of them down. Nothing on the pages is lost by that: figures and answers stay,
# and running the cells again brings the rest back.
