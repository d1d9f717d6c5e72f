"""Papers by their short references, which metrics, methods and reports share."""

PAPERS = {
    "Adebayo 2018": "Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim. Sanity Checks for Saliency Maps. NeurIPS 2018.",
    "Ancona 2018": "Ancona, Ceolini, Oztireli, Gross. Towards better understanding of gradient-based attribution methods. ICLR "
    "2018.",
    "Arras 2022": "Arras, Osman, Samek. CLEVR-XAI: A benchmark dataset for the ground truth evaluation of neural network "
    "explanations. Information Fusion 81, 2022.",
    "Bhatt 2020": "Bhatt, Weller, Moura. Evaluating and Aggregating Feature-based Model Explanations. IJCAI 2020.",
    "Bluecher 2024": "Bluecher, Vielhaben, Strodthoff. Decoupling Pixel Flipping and Occlusion Strategy for Consistent XAI "
    "Benchmarks. TMLR 2024, arXiv 2401.06654.",
    "Brocki 2022": "Brocki, Chung. Fidelity of Interpretability Methods and Perturbation Artifacts in Neural Networks. 2022, "
    "arXiv 2203.02928.",
    "Chalasani 2020": "Chalasani, Chen, Chowdhury, Wu, Jha. Concise Explanations of Neural Networks using Adversarial Training. "
    "ICML 2020.",
    "Chattopadhay 2018": "Chattopadhay, Sarkar, Howlader, Balasubramanian. Grad-CAM++. WACV 2018, arXiv 1710.11063.",
    "Erion 2021": "Erion, Janizek, Sturmfels, Lundberg, Lee. Improving performance of deep learning models with axiomatic "
    "attribution priors and expected gradients. Nature Machine Intelligence 2021.",
    "Gildenblat 2021": "Gildenblat. PyTorch library for CAM methods. 2021; after Rong et al., ROAD, arXiv 2202.00449.",
    "Gupta 2022": "Gupta, Saunshi, Yu, Lyu, Arora. New Definitions and Evaluations for Saliency Methods: Staying Intrinsic, "
    "Complete and Sound. NeurIPS 2022.",
    "Gur 2021": "Gur, Ali, Wolf. Visualization of Supervised and Self-Supervised Neural Networks via Attribution Guided "
    "Factorization. AAAI 2021, arXiv 2012.02166.",
    "Hooker 2019": "Hooker, Erhan, Kindermans, Kim. A Benchmark for Interpretability Methods in Deep Neural Networks. NeurIPS "
    "2019.",
    "Jiang 2021": "Jiang, Zhang, Hou, Cheng, Wei. LayerCAM: Exploring Hierarchical Class Activation Maps. IEEE TIP 2021.",
    "Kapishnikov 2019": "Kapishnikov, Bolukbasi, Viégas, Terry. XRAI: Better Attributions Through Regions. ICCV 2019.",
    "Lundberg 2017": "Lundberg, Lee. A Unified Approach to Interpreting Model Predictions. NeurIPS 2017.",
    "Muhammad 2020": "Muhammad, Yeasin. Eigen-CAM: Class Activation Map using Principal Components. IJCNN 2020, arXiv "
    "2008.00299.",
    "Petsiuk 2018": "Petsiuk, Das, Saenko. RISE: Randomized Input Sampling for Explanation of Black-box Models. BMVC 2018.",
    "Ribeiro 2016": "Ribeiro, Singh, Guestrin. “Why Should I Trust You?” Explaining the Predictions of Any Classifier. KDD 2016.",
    "Samek 2017": "Samek, Binder, Montavon, Lapuschkin, Müller. Evaluating the Visualization of What a Deep Neural Network Has "
    "Learned. IEEE TNNLS 28, 2017.",
    "Selvaraju 2017": "Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra. Grad-CAM. ICCV 2017, arXiv 1610.02391.",
    "Shrikumar 2016": "Shrikumar, Greenside, Shcherbina, Kundaje. Not Just a Black Box. 2016, arXiv 1605.01713.",
    "Simonyan 2014": "Simonyan, Vedaldi, Zisserman. Deep Inside Convolutional Networks. ICLR workshop 2014.",
    "Smilkov 2017": "Smilkov, Thorat, Kim, Viegas, Wattenberg. SmoothGrad: removing noise by adding noise. 2017, arXiv "
    "1706.03825.",
    "Sundararajan 2017": "Sundararajan, Taly, Yan. Axiomatic Attribution for Deep Networks. ICML 2017.",
    "Wang 2020": "Wang, Wang, Du, Yang, Zhang, Ding, Mardziel, Hu. Score-CAM. CVPR workshops 2020, arXiv 1910.01279.",
    "Yeh 2019": "Yeh, Hsieh, Suggala, Inouye, Ravikumar. On the (In)fidelity and Sensitivity of Explanations. NeurIPS 2019.",
    "Zeiler 2014": "Zeiler, Fergus. Visualizing and Understanding Convolutional Networks. ECCV 2014.",
    "Zhang 2016": "Zhang, Lin, Brandt, Shen, Sclaroff. Top-down Neural Attention by Excitation Backprop. ECCV 2016.",
    "Zhang 2023": "Zhang, Torres, Sicre, Avrithis, Ayache. Opti-CAM. 2023, arXiv 2301.07002.",
}


def full_reference(short: str) -> str:
    """The paper of a short reference; the text itself where it is not in the bibliography.

    Example:
        >>> full_reference("Zeiler 2014")
        'Zeiler, Fergus. Visualizing and Understanding Convolutional Networks. ECCV 2014.'
        >>> full_reference("this library")
        'this library'
    """
    return PAPERS.get(short, short)
