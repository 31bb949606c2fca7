"""Common drugs, one after the other, separated by semicolons: the generic name, then other
spellings, Chinese names and brands; `_` stands for a blank.
"""

LEXICON = """
acetaminophen paracetamol tylenol panadol 对乙酰氨基酚 扑热息痛 泰诺林 必理通
aspirin 阿司匹林 乙酰水杨酸 拜阿司匹灵
ibuprofen advil motrin 布洛芬 美林 芬必得; naproxen 萘普生; diclofenac voltaren 双氯芬酸 扶他林
celecoxib celebrex 塞来昔布 西乐葆
indomethacin 吲哚美辛; ketorolac 酮咯酸; meloxicam 美洛昔康; etoricoxib 依托考昔
colchicine 秋水仙碱; allopurinol 别嘌醇; febuxostat 非布司他; benzbromarone 苯溴马隆
morphine 吗啡; codeine 可待因; fentanyl 芬太尼; oxycodone 羟考酮 奥施康定; tramadol 曲马多
methadone 美沙酮; pethidine meperidine 哌替啶 杜冷丁; hydromorphone 氢吗啡酮
buprenorphine 丁丙诺啡; naloxone 纳洛酮; remifentanil 瑞芬太尼; sufentanil 舒芬太尼
amoxicillin amoxycillin 阿莫西林; ampicillin 氨苄西林; penicillin 青霉素; piperacillin 哌拉西林
oxacillin 苯唑西林; amoxiclav augmentin
cephalexin cefalexin 头孢氨苄; cefazolin 头孢唑林; cefuroxime 头孢呋辛; cefaclor 头孢克洛
ceftriaxone rocephin 头孢曲松; ceftazidime 头孢他啶; cefotaxime 头孢噻肟; cefepime 头孢吡肟
cefixime 头孢克肟; cefoperazone 头孢哌酮; cefdinir 头孢地尼; cefoxitin 头孢西丁
meropenem 美罗培南; imipenem 亚胺培南; ertapenem 厄他培南; aztreonam 氨曲南; vancomycin 万古霉素
teicoplanin 替考拉宁; linezolid 利奈唑胺; daptomycin 达托霉素; tigecycline 替加环素
azithromycin zithromax 阿奇霉素; clarithromycin 克拉霉素; erythromycin 红霉素
roxithromycin 罗红霉素; clindamycin 克林霉素; doxycycline 多西环素 强力霉素
minocycline 米诺环素; tetracycline 四环素
levofloxacin 左氧氟沙星; ofloxacin 氧氟沙星; ciprofloxacin 环丙沙星; moxifloxacin 莫西沙星
norfloxacin 诺氟沙星; gentamicin 庆大霉素; amikacin 阿米卡星; streptomycin 链霉素
tobramycin 妥布霉素
metronidazole flagyl 甲硝唑; tinidazole 替硝唑; ornidazole 奥硝唑; nitrofurantoin 呋喃妥因
fosfomycin 磷霉素; sulfamethoxazole 磺胺甲恶唑 复方新诺明 cotrimoxazole; trimethoprim 甲氧苄啶
rifampicin rifampin 利福平; isoniazid 异烟肼; pyrazinamide 吡嗪酰胺; ethambutol 乙胺丁醇
fluconazole 氟康唑; itraconazole 伊曲康唑; voriconazole 伏立康唑; ketoconazole 酮康唑
caspofungin 卡泊芬净; amphotericin 两性霉素; nystatin 制霉菌素; terbinafine 特比萘芬
acyclovir aciclovir 阿昔洛韦; valacyclovir 伐昔洛韦; ganciclovir 更昔洛韦
oseltamivir tamiflu 奥司他韦 达菲; entecavir 恩替卡韦; tenofovir 替诺福韦; lamivudine 拉米夫定
ribavirin 利巴韦林; remdesivir 瑞德西韦; sofosbuvir 索磷布韦; zidovudine 齐多夫定
paxlovid nirmatrelvir 奈玛特韦
chloroquine 氯喹; hydroxychloroquine plaquenil 羟氯喹; artesunate 青蒿琥酯; artemether 蒿甲醚
quinine 奎宁; mefloquine 甲氟喹; ivermectin 伊维菌素; albendazole 阿苯达唑; mebendazole 甲苯咪唑
praziquantel 吡喹酮
metformin glucophage 二甲双胍 格华止; glibenclamide glyburide 格列本脲; gliclazide 格列齐特
glimepiride 格列美脲; glipizide 格列吡嗪; acarbose 阿卡波糖 拜唐苹; pioglitazone 吡格列酮
sitagliptin januvia 西格列汀 捷诺维; linagliptin 利格列汀; vildagliptin 维格列汀
empagliflozin jardiance 恩格列净; dapagliflozin forxiga 达格列净; canagliflozin 卡格列净
semaglutide ozempic wegovy 司美格鲁肽; liraglutide victoza 利拉鲁肽
dulaglutide trulicity 度拉糖肽; exenatide 艾塞那肽
insulin 胰岛素; glargine lantus 甘精; detemir 地特; lispro humalog 赖脯; aspart novolog 门冬
degludec 德谷
levothyroxine thyroxine synthroid 左甲状腺素 优甲乐; methimazole thiamazole 甲巯咪唑 赛治
propylthiouracil 丙硫氧嘧啶; carbimazole 卡比马唑
prednisone 泼尼松 强的松; prednisolone 泼尼松龙; methylprednisolone 甲泼尼龙 甲强龙
dexamethasone 地塞米松; hydrocortisone 氢化可的松; betamethasone 倍他米松; budesonide 布地奈德
fluticasone 氟替卡松; beclomethasone 倍氯米松; triamcinolone 曲安奈德; mometasone 莫米松
fludrocortisone 氟氢可的松; cortisone 可的松
lisinopril 赖诺普利; enalapril 依那普利; captopril 卡托普利; ramipril 雷米普利
perindopril 培哚普利; benazepril 贝那普利; fosinopril 福辛普利
losartan cozaar 氯沙坦; valsartan diovan 缬沙坦 代文; irbesartan 厄贝沙坦; candesartan 坎地沙坦
telmisartan 替米沙坦; olmesartan 奥美沙坦; sacubitril entresto 沙库巴曲
amlodipine norvasc 氨氯地平 络活喜; nifedipine 硝苯地平 拜新同; felodipine 非洛地平
nicardipine 尼卡地平; nimodipine 尼莫地平; lercanidipine 乐卡地平; diltiazem 地尔硫卓 合心爽
verapamil 维拉帕米
metoprolol lopressor 美托洛尔 倍他乐克; bisoprolol 比索洛尔; atenolol 阿替洛尔
propranolol 普萘洛尔 心得安; carvedilol 卡维地洛; labetalol 拉贝洛尔; nebivolol 奈必洛尔
esmolol 艾司洛尔; timolol 噻吗洛尔; sotalol 索他洛尔
furosemide frusemide lasix 呋塞米 速尿; torasemide torsemide 托拉塞米; bumetanide 布美他尼
hydrochlorothiazide 氢氯噻嗪 双氢克尿噻; indapamide 吲达帕胺; chlorthalidone 氯噻酮
spironolactone aldactone 螺内酯 安体舒通; eplerenone 依普利酮; amiloride 阿米洛利
acetazolamide 乙酰唑胺; mannitol 甘露醇; tolvaptan 托伐普坦
hydralazine 肼屈嗪 肼苯哒嗪; methyldopa 甲基多巴; clonidine 可乐定; doxazosin 多沙唑嗪
prazosin 哌唑嗪; terazosin 特拉唑嗪; tamsulosin flomax 坦索罗辛; minoxidil 米诺地尔
nitroprusside 硝普钠; urapidil 乌拉地尔; phentolamine 酚妥拉明
nitroglycerin nitroglycerine 硝酸甘油; isosorbide 硝酸异山梨酯 单硝酸异山梨酯 消心痛
ranolazine 雷诺嗪; ivabradine 伊伐布雷定; trimetazidine 曲美他嗪; digoxin 地高辛
amiodarone 胺碘酮 可达龙; lidocaine lignocaine 利多卡因; propafenone 普罗帕酮; flecainide 氟卡尼
adenosine 腺苷; atropine 阿托品
dopamine 多巴胺; dobutamine 多巴酚丁胺; norepinephrine noradrenaline 去甲肾上腺素
epinephrine adrenaline 肾上腺素; isoproterenol 异丙肾上腺素; vasopressin 加压素 血管加压素
milrinone 米力农; phenylephrine 去氧肾上腺素; ephedrine 麻黄碱; levosimendan 左西孟旦
atorvastatin lipitor 阿托伐他汀 立普妥; simvastatin zocor 辛伐他汀
rosuvastatin crestor 瑞舒伐他汀 可定; pravastatin 普伐他汀; fluvastatin 氟伐他汀
pitavastatin 匹伐他汀; ezetimibe 依折麦布; fenofibrate 非诺贝特; gemfibrozil 吉非罗齐
evolocumab 依洛尤单抗; niacin 烟酸
warfarin coumadin 华法林; heparin 肝素; enoxaparin lovenox 依诺肝素; dalteparin 达肝素
nadroparin 那屈肝素; lmwh 低分子肝素; fondaparinux 磺达肝癸钠
rivaroxaban xarelto 利伐沙班 拜瑞妥; apixaban eliquis 阿哌沙班; dabigatran pradaxa 达比加群
edoxaban 艾多沙班; clopidogrel plavix 氯吡格雷 波立维; ticagrelor 替格瑞洛; prasugrel 普拉格雷
dipyridamole 双嘧达莫; cilostazol 西洛他唑; tirofiban 替罗非班; alteplase 阿替普酶
urokinase 尿激酶; tenecteplase 替奈普酶; streptokinase 链激酶; tranexamic 氨甲环酸
protamine 鱼精蛋白; argatroban 阿加曲班
omeprazole prilosec 奥美拉唑 洛赛克; esomeprazole nexium 埃索美拉唑 艾司奥美拉唑
lansoprazole 兰索拉唑; pantoprazole 泮托拉唑; rabeprazole 雷贝拉唑; famotidine 法莫替丁
ranitidine 雷尼替丁; cimetidine 西咪替丁; sucralfate 硫糖铝; misoprostol 米索前列醇
bismuth 枸橼酸铋钾 铋剂; domperidone 多潘立酮 吗丁啉; metoclopramide 甲氧氯普胺 胃复安
ondansetron zofran 昂丹司琼; granisetron 格拉司琼; mosapride 莫沙必利
loperamide 洛哌丁胺 易蒙停; lactulose 乳果糖; mesalazine mesalamine 美沙拉嗪
sulfasalazine 柳氮磺吡啶; octreotide 奥曲肽; somatostatin 生长抑素
montmorillonite smectite 蒙脱石散; ursodeoxycholic 熊去氧胆酸
salbutamol albuterol ventolin 沙丁胺醇 万托林; salmeterol 沙美特罗; formoterol 福莫特罗
terbutaline 特布他林; ipratropium 异丙托溴铵; tiotropium 噻托溴铵
montelukast singulair 孟鲁司特 顺尔宁; theophylline 茶碱; aminophylline 氨茶碱
doxofylline 多索茶碱; ambroxol 氨溴索; acetylcysteine 乙酰半胱氨酸; dextromethorphan 右美沙芬
guaifenesin 愈创甘油醚; carbocisteine 羧甲司坦
cetirizine zyrtec 西替利嗪; loratadine claritin 氯雷他定 开瑞坦; fexofenadine 非索非那定
desloratadine 地氯雷他定; chlorpheniramine 氯苯那敏 扑尔敏; diphenhydramine benadryl 苯海拉明
promethazine 异丙嗪; hydroxyzine 羟嗪
diazepam valium 地西泮 安定; lorazepam 劳拉西泮; alprazolam xanax 阿普唑仑; clonazepam 氯硝西泮
midazolam 咪达唑仑; estazolam 艾司唑仑; zolpidem 唑吡坦; zopiclone 佐匹克隆; propofol 丙泊酚
ketamine 氯胺酮; etomidate 依托咪酯; dexmedetomidine 右美托咪定; rocuronium 罗库溴铵
succinylcholine suxamethonium 琥珀胆碱; neostigmine 新斯的明; sevoflurane 七氟烷
bupivacaine 布比卡因; ropivacaine 罗哌卡因; flumazenil 氟马西尼
phenobarbital phenobarbitone 苯巴比妥 鲁米那; phenytoin dilantin 苯妥英
carbamazepine tegretol 卡马西平 得理多; oxcarbazepine 奥卡西平
valproate valproic depakote 丙戊酸 德巴金; levetiracetam keppra 左乙拉西坦 开浦兰
lamotrigine 拉莫三嗪; topiramate 托吡酯 妥泰; gabapentin neurontin 加巴喷丁
pregabalin lyrica 普瑞巴林; lacosamide 拉考沙胺; ethosuximide 乙琥胺
levodopa 左旋多巴 美多芭; carbidopa 卡比多巴; pramipexole 普拉克索; ropinirole 罗匹尼罗
selegiline 司来吉兰; entacapone 恩他卡朋; amantadine 金刚烷胺; trihexyphenidyl 苯海索 安坦
donepezil aricept 多奈哌齐; memantine 美金刚; rivastigmine 卡巴拉汀; betahistine 倍他司汀
flunarizine 氟桂利嗪; sumatriptan 舒马普坦; rizatriptan 利扎曲普坦; edaravone 依达拉奉
citicoline 胞磷胆碱; mecobalamin 甲钴胺; pyridostigmine 溴吡斯的明; baclofen 巴氯芬
riluzole 利鲁唑
sertraline zoloft 舍曲林; fluoxetine prozac 氟西汀; paroxetine 帕罗西汀; citalopram 西酞普兰
escitalopram 艾司西酞普兰; venlafaxine 文拉法辛; duloxetine cymbalta 度洛西汀
mirtazapine 米氮平; bupropion 安非他酮; amitriptyline 阿米替林; trazodone 曲唑酮
clomipramine 氯米帕明; lithium 碳酸锂; haloperidol 氟哌啶醇; chlorpromazine 氯丙嗪
olanzapine zyprexa 奥氮平; risperidone 利培酮; quetiapine seroquel 喹硫平; aripiprazole 阿立哌唑
clozapine 氯氮平; buspirone 丁螺环酮; methylphenidate ritalin 哌甲酯; atomoxetine 托莫西汀
methotrexate 甲氨蝶呤; azathioprine 硫唑嘌呤; cyclophosphamide 环磷酰胺
mycophenolate 吗替麦考酚酯 霉酚酸酯; tacrolimus 他克莫司; cyclosporine ciclosporin 环孢素
leflunomide 来氟米特; rituximab 利妥昔单抗; infliximab remicade 英夫利西单抗
adalimumab humira 阿达木单抗; etanercept 依那西普; tocilizumab 托珠单抗; tofacitinib 托法替布
sirolimus 西罗莫司; thalidomide 沙利度胺
cisplatin 顺铂; carboplatin 卡铂; oxaliplatin 奥沙利铂; paclitaxel taxol 紫杉醇
docetaxel 多西他赛; gemcitabine 吉西他滨; pemetrexed 培美曲塞; fluorouracil 5-fu 氟尿嘧啶
capecitabine 卡培他滨; irinotecan 伊立替康; etoposide 依托泊苷
doxorubicin adriamycin 多柔比星 阿霉素; epirubicin 表柔比星; vincristine 长春新碱
bleomycin 博来霉素; cytarabine 阿糖胞苷; imatinib 伊马替尼; gefitinib 吉非替尼
erlotinib 厄洛替尼; osimertinib 奥希替尼; sorafenib 索拉非尼; lenvatinib 仑伐替尼
trastuzumab herceptin 曲妥珠单抗; bevacizumab avastin 贝伐珠单抗
pembrolizumab keytruda 帕博利珠单抗; nivolumab opdivo 纳武利尤单抗; cetuximab 西妥昔单抗
tamoxifen 他莫昔芬; letrozole 来曲唑; anastrozole 阿那曲唑; exemestane 依西美坦
fulvestrant 氟维司群; bicalutamide 比卡鲁胺; abiraterone 阿比特龙; goserelin 戈舍瑞林
leuprolide leuprorelin 亮丙瑞林; bortezomib 硼替佐米; lenalidomide 来那度胺
temozolomide 替莫唑胺; hydroxyurea 羟基脲; mercaptopurine 巯嘌呤
alendronate 阿仑膦酸; zoledronic 唑来膦酸; denosumab 地舒单抗; calcitriol 骨化三醇
teriparatide 特立帕肽; calcium 钙剂 碳酸钙; ferrous 硫酸亚铁 琥珀酸亚铁; folic folate 叶酸
erythropoietin epoetin 促红细胞生成素; filgrastim 非格司亭; potassium_chloride 氯化钾
sodium_bicarbonate 碳酸氢钠; magnesium_sulfate 硫酸镁; albumin 人血白蛋白
oxytocin 缩宫素 催产素; carbetocin 卡贝缩宫素; mifepristone 米非司酮; progesterone 黄体酮
estradiol 雌二醇; clomiphene 克罗米芬; desmopressin 去氨加压素; finasteride 非那雄胺
dutasteride 度他雄胺; sildenafil viagra 西地那非; tadalafil 他达拉非; oxybutynin 奥昔布宁
solifenacin 索利那新; mirabegron 米拉贝隆; ritodrine 利托君; levonorgestrel 左炔诺孕酮
acamprosate 阿坎普罗斯; aflibercept 阿柏西普; amphetamine 苯丙胺; modafinil 莫达非尼
armodafinil 阿莫达非尼; bosentan 波生坦; benzoyl_peroxide 过氧化苯甲酰; capsaicin 辣椒素
cholecalciferol 胆钙化醇; ergocalciferol 麦角钙化醇; cholestyramine 考来烯胺
cyclobenzaprine 环苯扎林; dacarbazine 达卡巴嗪; danazol 达那唑; darifenacin 达非那新
tolterodine 托特罗定; dicyclomine 双环维林; disulfiram 双硫仑; efavirenz 依法韦仑
eltrombopag 艾曲波帕; enzalutamide 恩杂鲁胺; epoprostenol 依前列醇; alprostadil 前列地尔
fingolimod 芬戈莫德; galantamine 加兰他敏; glatiramer 格拉替雷; guanfacine 胍法辛
imiquimod 咪喹莫特; interferon 干扰素; linaclotide 利那洛肽; liothyronine 碘塞罗宁
lubiprostone 鲁比前列酮; meclizine 美克洛嗪; melatonin 褪黑素; melphalan 美法仑
milnacipran 米那普仑; naltrexone 纳曲酮; nintedanib 尼达尼布; olaparib 奥拉帕利
orlistat 奥利司他; pazopanib 帕唑帕尼; pentoxifylline 己酮可可碱; phentermine 芬特明
pimecrolimus 吡美莫司; pirfenidone 吡非尼酮; probenecid 丙磺舒; rifaximin 利福昔明
riociguat 利奥西呱; romiplostim 罗米司亭; sevelamer 司维拉姆; testosterone 睾酮
vardenafil 伐地那非; dapsone 氨苯砜; oxymetazoline 羟甲唑啉; idarucizumab 依达赛珠单抗
scopolamine hyoscine 东莨菪碱; colistin polymyxin 多黏菌素 多粘菌素; chloramphenicol 氯霉素
miconazole 咪康唑; lopinavir 洛匹那韦; ritonavir 利托那韦; dolutegravir 度鲁特韦 多替拉韦
nalbuphine 纳布啡; butorphanol 布托啡诺; vecuronium 维库溴铵; cisatracurium 顺阿曲库铵
thiopental 硫喷妥钠; ibutilide 伊布利特; cedilanid 西地兰 去乙酰毛花苷
snake_antivenom 抗蛇毒血清; tetanus_antitoxin 破伤风抗毒素; immunoglobulin ivig 免疫球蛋白 丙球
glucagon 胰高血糖素; calcium_gluconate 葡萄糖酸钙
antibiotics antibiotic 抗生素
corticosteroids corticosteroid steroids steroid 糖皮质激素 激素 皮质类固醇
diuretics diuretic 利尿剂 利尿药; anticoagulants anticoagulant 抗凝剂 抗凝药
antihistamines antihistamine 抗组胺药; antivirals antiviral 抗病毒药
bronchodilators bronchodilator 支气管扩张剂; statins 他汀类; thiazides 噻嗪类
vasopressors vasopressor 升压药; nsaids nsaid 非甾体抗炎药
immunosuppressants immunosuppressant 免疫抑制剂; thrombolytics 溶栓药
antipsychotics antipsychotic 抗精神病药; antidepressants antidepressant 抗抑郁药
sedatives sedative 镇静剂 镇静药; opioids opioid 阿片类
latanoprost 拉坦前列素; brimonidine 溴莫尼定; pilocarpine 毛果芸香碱; tropicamide 托吡卡胺
isotretinoin 异维a酸; mupirocin 莫匹罗星; calamine 炉甘石; povidone 聚维酮碘 碘伏
botulinum botox 肉毒毒素
"""
