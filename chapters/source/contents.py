# %% [markdown]
# # Contents
#
# Run the cell below (<kbd>Shift</kbd>+<kbd>Enter</kbd>): it shows a tick for every exercise whose check said *right*, and
# how each self-test went. It goes on looking while you work on other pages.

# %% tags=["nbval-ignore-output"]
from course.kit.contents import Contents

Contents()

# %% [markdown]
# ## Your pages
#
# `make lab` opens your own copy of the chapters, the folder `my_course`, or the one that the environment variable
# `COURSE_HOME` names. What you write there is yours: a newer version of the course is merged into it by the next
# `make lab`, and your cells stay. What you have solved is kept in `progress.jsonl` beside the pages, and your
# building blocks in `my_ssd.py`, which chapter 13 trains with.
#
# To have a page again as it came, close it and run this in a terminal in the course's folder (here for chapter 03):
#
# ```
# make afresh PAGE=03
# ```
#
# Your version of that page is kept in `my_course/aside`.
#
# ## When memory is short
#
# Every page that you have run keeps a kernel, and a kernel that has loaded PyTorch holds 0.5 to 1.5 GB. Closing a tab
# doesn't end it. At the end of each chapter, below the self-test, a button shuts the chapter's kernel down and opens the
# next page. JupyterLab lists all kernels under the square in its left side bar, with a button to shut each of them down.
# Nothing on the pages is lost by that: pictures and answers stay, and running the cells again brings the rest back.
