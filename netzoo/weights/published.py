"""Tables of published weights: facts only, `netzoo.weights.catalogue` makes sense of them.

torchvision: `https://download.pytorch.org/models/FILE`, transforms and accuracies from the weights
enumerations of torchvision 0.29. The first eight digits of the SHA-256 stand in the file's name.

Google (Steiner et al., arXiv:2106.10270): the addresses in the `default_cfgs` of timm 1.0.31
(vision_transformer.py, vision_transformer_hybrid.py), which give no checksums.
"""

TORCHVISION_SOURCE = "torchvision 0.29 weights enums"
# Model, tag, file, length of the shorter side before the crop in pixels, top-1 in percent.
TORCHVISION = (
    ("alexnet_owt", "tv_in1k", "alexnet-owt-7be5be79.pth", 256, 56.522),
    ("vgg11", "tv_in1k", "vgg11-8a719046.pth", 256, 69.020),
    ("vgg13", "tv_in1k", "vgg13-19584684.pth", 256, 69.928),
    ("vgg16", "tv_in1k", "vgg16-397923af.pth", 256, 71.592),
    ("vgg19", "tv_in1k", "vgg19-dcbb9e9d.pth", 256, 72.376),
    ("vgg11_bn", "tv_in1k", "vgg11_bn-6002323d.pth", 256, 70.370),
    ("vgg13_bn", "tv_in1k", "vgg13_bn-abd245e5.pth", 256, 71.586),
    ("vgg16_bn", "tv_in1k", "vgg16_bn-6c64b313.pth", 256, 73.360),
    ("vgg19_bn", "tv_in1k", "vgg19_bn-c79401a0.pth", 256, 74.218),
    ("googlenet_tv", "tv_in1k", "googlenet-1378be20.pth", 256, 69.778),
    ("mobilenet_v2", "tv_in1k", "mobilenet_v2-b0353104.pth", 256, 71.878),
    ("mobilenet_v3_large", "tv_in1k", "mobilenet_v3_large-8738ca79.pth", 256, 74.042),
    ("mobilenet_v3_small", "tv_in1k", "mobilenet_v3_small-047dcff4.pth", 256, 67.668),
    ("resnet18", "tv_in1k", "resnet18-f37072fd.pth", 256, 69.758),
    ("resnet34", "tv_in1k", "resnet34-b627a593.pth", 256, 73.314),
    ("resnet50", "tv_in1k", "resnet50-0676ba61.pth", 256, 76.130),
    ("resnet101", "tv_in1k", "resnet101-63fe2227.pth", 256, 77.374),
    ("resnet152", "tv_in1k", "resnet152-394f9c45.pth", 256, 78.312),
    ("resnext50_32x4d", "tv_in1k", "resnext50_32x4d-7cdf4587.pth", 256, 77.618),
    ("resnext101_32x8d", "tv_in1k", "resnext101_32x8d-8ba56ff5.pth", 256, 79.312),
    ("wide_resnet50_2", "tv_in1k", "wide_resnet50_2-95faca4d.pth", 256, 78.468),
    ("wide_resnet101_2", "tv_in1k", "wide_resnet101_2-32ee1156.pth", 256, 78.848),
    ("vit_b16", "tv_in1k", "vit_b_16-c867db91.pth", 256, 81.072),
    ("vit_b32", "tv_in1k", "vit_b_32-d86f8d99.pth", 256, 75.912),
    ("vit_l16", "tv_in1k", "vit_l_16-852ce7e3.pth", 242, 79.662),
    ("vit_l32", "tv_in1k", "vit_l_32-c7638314.pth", 256, 76.972),
    ("mobilenet_v2", "tv2_in1k", "mobilenet_v2-7ebf99e0.pth", 232, 72.154),
    ("mobilenet_v3_large", "tv2_in1k", "mobilenet_v3_large-5c1a4163.pth", 232, 75.274),
    ("resnet50", "tv2_in1k", "resnet50-11ad3fa6.pth", 232, 80.858),
    ("resnet101", "tv2_in1k", "resnet101-cd907fc2.pth", 232, 81.886),
    ("resnet152", "tv2_in1k", "resnet152-f82ba261.pth", 232, 82.284),
    ("resnext50_32x4d", "tv2_in1k", "resnext50_32x4d-1a0047aa.pth", 232, 81.198),
    ("resnext101_32x8d", "tv2_in1k", "resnext101_32x8d-110c445d.pth", 232, 82.834),
    ("wide_resnet50_2", "tv2_in1k", "wide_resnet50_2-9ba9bcbe.pth", 232, 81.602),
    ("wide_resnet101_2", "tv2_in1k", "wide_resnet101_2-d733dc28.pth", 232, 82.510),
)

GOOGLE_SOURCE = "timm 1.0.31 default_cfgs"
# Model, tag, Google's name of the network, augmentation, weight decay and rate of dropout and of
# stochastic depth in the first training, learning rate of the fine-tuning on ImageNet-1k, if any.
GOOGLE = (
    ("vit_ti16", "augreg_in21k_ft_in1k", "Ti_16", "none", 0.03, 0.0, 0.03),
    ("vit_ti16", "augreg_in21k_ft_in1k_384", "Ti_16", "none", 0.03, 0.0, 0.03),
    ("vit_s32", "augreg_in21k_ft_in1k", "S_32", "light1", 0.03, 0.0, 0.03),
    ("vit_s32", "augreg_in21k_ft_in1k_384", "S_32", "light1", 0.03, 0.0, 0.03),
    ("vit_s16", "augreg_in21k_ft_in1k", "S_16", "light1", 0.03, 0.0, 0.03),
    ("vit_s16", "augreg_in21k_ft_in1k_384", "S_16", "light1", 0.03, 0.0, 0.03),
    ("vit_b32", "augreg_in21k_ft_in1k", "B_32", "medium1", 0.03, 0.0, 0.03),
    ("vit_b32", "augreg_in21k_ft_in1k_384", "B_32", "light1", 0.1, 0.0, 0.03),
    ("vit_b16", "augreg_in21k_ft_in1k", "B_16", "medium1", 0.1, 0.0, 0.01),
    ("vit_b16", "augreg_in21k_ft_in1k_384", "B_16", "medium1", 0.1, 0.0, 0.01),
    ("vit_b8", "augreg_in21k_ft_in1k", "B_8", "medium1", 0.1, 0.0, 0.01),
    ("vit_l16", "augreg_in21k_ft_in1k", "L_16", "medium1", 0.1, 0.1, 0.01),
    ("vit_l16", "augreg_in21k_ft_in1k_384", "L_16", "medium1", 0.1, 0.1, 0.01),
    ("vit_s16", "augreg_in1k", "S_16", "medium2", 0.1, 0.0, 0.01),
    ("vit_s16", "augreg_in1k_384", "S_16", "medium2", 0.1, 0.0, 0.01),
    ("vit_b32", "augreg_in1k", "B_32", "medium2", 0.1, 0.1, 0.01),
    ("vit_b32", "augreg_in1k_384", "B_32", "medium2", 0.1, 0.1, 0.01),
    ("vit_b16", "augreg_in1k", "B_16", "strong2", 0.1, 0.1, 0.01),
    ("vit_b16", "augreg_in1k_384", "B_16", "strong2", 0.1, 0.1, 0.01),
    ("vit_ti16", "augreg_in21k", "Ti_16", "none", 0.03, 0.0, None),
    ("vit_s32", "augreg_in21k", "S_32", "light1", 0.03, 0.0, None),
    ("vit_s16", "augreg_in21k", "S_16", "light1", 0.03, 0.0, None),
    ("vit_b32", "augreg_in21k", "B_32", "medium1", 0.03, 0.0, None),
    ("vit_b16", "augreg_in21k", "B_16", "medium1", 0.1, 0.0, None),
    ("vit_b8", "augreg_in21k", "B_8", "medium1", 0.1, 0.0, None),
    ("vit_l16", "augreg_in21k", "L_16", "medium1", 0.1, 0.1, None),
    ("r_ti16", "augreg_in21k_ft_in1k", "R_Ti_16", "none", 0.03, 0.0, 0.03),
    ("r_ti16", "augreg_in21k_ft_in1k_384", "R_Ti_16", "none", 0.03, 0.0, 0.03),
    ("r26_s32", "augreg_in21k_ft_in1k", "R26_S_32", "light0", 0.03, 0.1, 0.03),
    ("r26_s32", "augreg_in21k_ft_in1k_384", "R26_S_32", "medium2", 0.03, 0.0, 0.03),
    ("r50_l32", "augreg_in21k_ft_in1k", "R50_L_32", "medium1", 0.1, 0.1, 0.01),
    ("r50_l32", "augreg_in21k_ft_in1k_384", "R50_L_32", "medium2", 0.1, 0.0, 0.01),
    ("r_ti16", "augreg_in21k", "R_Ti_16", "none", 0.03, 0.0, None),
    ("r26_s32", "augreg_in21k", "R26_S_32", "medium2", 0.03, 0.0, None),
    ("r50_l32", "augreg_in21k", "R50_L_32", "medium2", 0.1, 0.0, None),
)
