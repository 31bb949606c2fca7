"""What English names are made of, and what only looks like one."""

_NOT_NAMES = """
    a an the this that these those it he she we they you i in on at of to for from with and or
    but not no yes if when while after before during since what which who whom whose why how
    where there here is are was were be has have had do does did can could will would may might
    must shall should please note see name age sex male female mr mrs ms dr md rn patient
    patients type stage grade class group figure table case question answer history diagnosis
    disease syndrome disorder cancer tumor tumour carcinoma lymphoma leukemia diabetes
    hypertension asthma pneumonia sepsis fever pain chest abdomen abdominal pelvis head neck
    brain heart lung lungs liver kidney spleen bone spine left right bilateral upper lower
    middle anterior posterior medial lateral superior inferior acute chronic mild moderate
    severe normal abnormal positive negative stable unchanged new old mass nodule lesion
    effusion fracture hemorrhage infarct infection bacterial viral fungal scan ct mri xr us pet
    x-ray ray study exam examination report reports findings impression comparison technique
    indication clinical medical hospital clinic center centre department ward unit emergency
    intensive care icu er surgery cardiology oncology radiology pathology neurology nephrology
    infectious internal medicine family practice general university college institute school
    national american european british united states world health organization association
    society january february march april june july august september october november december
    monday tuesday wednesday thursday friday saturday sunday english spanish chinese french
    german latin caucasian african asian hispanic white black known unknown none denies denied
    reported presents presented complains stated admitted discharged seen treated reviewed noted
    alert oriented awake side effects drug drugs dose dosage tablet tablets injection
    intravenous oral daily vitamin sodium potassium calcium acid protein test tests blood urine
    serum cell cells count score scale index sign signs symptom symptoms signed by date time
    page section part phase trial control controls placebo treatment therapy contact allergies
    medications social past present current primary secondary final preliminary addendum
    attending resident nurse physician surgeon doctor provider radiologist pathologist
    consultant specialist staff team service services street avenue road address phone email id
    mrn dob ssn number status discharge admission procedure anesthesia anaesthesia course plan
    assessment recommendation recommendations follow bed room rest air down staphylococcus
    streptococcus escherichia gram mother father brother sister son daughter wife husband child
    baby boy girl infant newborn twin aunt uncle cousin him her his hers their our my your xxxx
    good morning evening night happy hello hi one two three four five six seven eight nine ten
    first second third ii iii iv st saint coma all both each other another any some most more
    less very only also than then just
"""
NOT_NAMES = frozenset(_NOT_NAMES.split())
"""Capitalised words that stand where names do, in lower case."""

_GIVEN = """
    aaron abigail adam adrian agnes ahmed aisha alan albert alex alexander alexandra alexis
    alfred ali alice alicia allison amanda amber amir amy ana andrea andrew angela anita ann
    anna anne annette anthony antonio april arthur ashley audrey austin barbara beatrice
    benjamin bernard beth betty beverly billy bobby bonnie brad bradley brandon brenda brian
    bruce bryan calvin carl carla carlos carmen carol caroline carolyn catherine cecilia charles
    charlotte cheryl chloe chris christian christina christine christopher cindy claire clara
    clarence connie craig crystal curtis cynthia dale dan daniel danielle darlene david dawn
    deborah debra denise dennis diana diane diego dolores donald donna doris dorothy douglas
    dylan earl edith edna edward edwin eileen elaine eleanor elena eli elijah elizabeth ella
    ellen emily emma eric erica erin ethan eugene eva evan evelyn fatima felix florence frances
    francis francisco frank fred frederick gabriel gail gary george gerald gina giulia gladys
    glenn gloria grace greg gregory hannah harold harriet harry hassan hazel heather hector
    heidi helen henry herbert howard hugh ian ibrahim ida imran irene isaac isabel isabella ivan
    jack jackie jacob jacqueline jake james jamie jane janet janice jasmine jason javier jean
    jeffrey jennifer jeremy jerome jerry jesse jessica jesus jill jim jimmy joan joanne joe joel
    john johnny jonathan jordan jorge jose joseph joshua joyce juan juanita judith judy julia
    julian julie june justin karen karl katherine kathleen kathryn kathy katie keith kelly
    kenneth kevin kim kimberly kristen kyle larry laura lauren laurie lawrence leah lee leo leon
    leonard leslie lillian linda lisa lloyd logan lois loretta lorraine louis louise lucas lucia
    lucy luis luke lydia lynn madison manuel marc marcia marco marcus margaret maria marie
    marilyn mario marion marjorie mark marlene martha martin marvin mary mathew matthew maureen
    maurice max megan melanie melissa melvin michael michele michelle miguel mike mildred minnie
    mohamed mohammed monica morgan muhammad nancy naomi natalie nathan nicholas nicole nina noah
    noel nora norma norman oliver olivia omar oscar owen pamela patricia patrick paul paula
    pauline pedro peggy peter philip phillip phyllis priya rachel rafael rajesh ralph ramon
    randy raymond rebecca regina rene rhonda ricardo richard rita robert roberta roberto robin
    rodney roger roland ronald rosa rosalie rose rosemary roy ruby russell ruth ryan sally sam
    samantha samuel sandra sara sarah scott sean sergio seth shane shannon sharon shawn sheila
    shirley sidney simon sofia sonia sophia sophie stacy stanley stella stephanie stephen steve
    steven stuart sue sunil susan suzanne sylvia tamara tammy tanya tara ted teresa terry thelma
    theodore theresa thomas tiffany tim timothy tina todd tom tommy tony tracy travis troy tyler
    valerie vanessa vera vernon veronica victor victoria vincent viola violet virginia vivian
    wade walter wanda warren wayne wei wendy wesley wilbur willard william willie yolanda yusuf
    yvonne zachary zoe
"""
GIVEN = frozenset(_GIVEN.split())
"""Common given names, in lower case."""
