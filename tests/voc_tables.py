"""Images and objects of each class, as the web page of VOC states them."""

import re

PER_CLASS = """
    aeroplane 238 306 670 865 285        diningtable 200 215 538 609 206
    bicycle 243 353 552 711 337          dog 421 510 1286 1515 489
    bird 330 486 765 1119 459            horse 287 362 482 710 348
    boat 181 290 508 850 263             motorbike 245 339 526 713 325
    bottle 244 505 706 1259 469          person 2008 4690 4087 8566 4528
    bus 186 229 421 593 213              pottedplant 245 514 527 973 480
    car 713 1250 1161 2017 1201          sheep 96 257 325 813 242
    cat 337 376 1080 1217 358            sofa 229 248 507 566 239
    chair 445 798 1119 2354 756          train 261 297 544 628 282
    cow 141 259 303 588 244              tvmonitor 256 324 575 784 308
"""


TABLE = {
    name: tuple(map(int, numbers.split())) for name, numbers in re.findall(r"(\w+)((?: \d+){5})", PER_CLASS)
}
