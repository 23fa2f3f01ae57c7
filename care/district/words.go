package district

import "math/rand/v2"

// surnames, the commonest first; a name's place decides how often it is taken.
var surnames = []rune("王李张刘陈杨黄赵吴周徐孙马朱胡郭何林高罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范金石廖贾夏韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤单仇解查区")

// Given names by sex and by the decades in which they were in fashion: the first
// character and the second.
var fashions = []struct {
	until         int
	male1, male2  []rune
	femal1, femal []rune
}{
	{1945, []rune("德福荣永世文国宝长金玉正志"), []rune("才贵山林生财兴发祥根清明"), []rune("桂秀玉素淑凤翠兰金月"), []rune("英珍兰芳花香莲贞云娥")},
	{1958, []rune("建国志家忠明学光永庆"), []rune("华民军平国强林生义成"), []rune("秀桂玉淑凤美金惠素爱"), []rune("英兰芳珍华琴梅霞云萍")},
	{1975, []rune("建卫向志永红晓国海文"), []rune("军东平明华峰伟强林涛"), []rune("丽秀红晓玉春小桂爱美"), []rune("芳梅霞萍华红琼燕玲艳")},
	{3000, []rune("伟俊志文浩宇鹏建明家"), []rune("杰涛磊波斌辉超龙飞宇"), []rune("丽晓雪婷倩文欣佳慧思"), []rune("敏娟静婷雯琳颖洁娜怡")},
}

// name makes a full name of a person born in a year.
func name(r *rand.Rand, male bool, year int) string {
	n := len(surnames)
	at := min(r.IntN(n), r.IntN(n), r.IntN(n))
	return string(surnames[at]) + given(r, male, year)
}

func given(r *rand.Rand, male bool, year int) string {
	for _, f := range fashions {
		if year < f.until {
			a, b := f.femal1, f.femal
			if male {
				a, b = f.male1, f.male2
			}
			if r.IntN(100) < 14 { // one character alone
				return string(pick(r, b))
			}
			return string(pick(r, a)) + string(pick(r, b))
		}
	}
	return ""
}

var (
	roadNames      = []string{"安宁", "翠竹", "长春", "东风", "福海", "光华", "和平", "金碧", "康乐", "兰亭", "明通", "南屏", "平政", "青年", "人和", "双龙", "桃源", "文林"}
	streetNames    = []string{"翠竹", "长春", "福海", "金碧", "南屏", "青年", "桃源", "文林"}
	communityNames = []string{"第一", "第二", "东", "西", "南", "北"}
	estates        = []string{"幸福里", "康乐苑", "银桂园", "安居小区", "教师新村", "纺织厂宿舍", "春城花园", "铁路新村", "滨河苑", "阳光小区"}
	entryNotes     = []string{"大门密码找保安", "后门进，前门常锁", "院内有狗，已拴", "门铃坏，请敲门", "一楼有台阶无坡道", "电梯要刷卡，找物业"}
	riskNotes      = []string{"家中养狗", "有走失史", "情绪易激动", "家中有氧气瓶", "行动不便，勿催促", "使用煤炉，注意通风"}
	hospitals      = []string{"区人民医院", "第一社区卫生服务中心", "市中医院", "铁路医院", "第二人民医院"}
	diagnoses      = []struct {
		name    string
		percent int
		drug    string
	}{{"高血压", 48, "氨氯地平"}, {"2型糖尿病", 19, "二甲双胍"}, {"冠心病", 14, "阿司匹林"}, {"脑卒中后遗症", 6, ""}, {"慢阻肺", 8, "沙丁胺醇"}, {"骨质疏松", 22, ""}, {"阿尔茨海默病", 4, "多奈哌齐"}, {"帕金森病", 2, "美多芭"}, {"白内障", 15, ""}}
	providers = []struct{ name, class string }{
		{"安心居家护理服务部", "care_firm"}, {"福海长者食堂", "canteen"}, {"康乐社区卫生服务中心", "medical"}, {"巧手家政服务社", "housekeeping"},
		{"快修便民维修队", "repair"}, {"暖阳志愿服务队", "volunteer"}, {"应急救助队", "care_firm"}, {"春晖社会工作站", "social_work"},
	}
	trades = []struct {
		kind, class, mode, certificate string
		skills                         []string
	}{
		{"rescue", "care_firm", "ebike", "急救员证", []string{"first_aid", "cpr", "aed", "lift_two"}},
		{"carer", "care_firm", "ebike", "养老护理员证", []string{"first_aid", "bathing", "dementia"}},
		{"building_leader", "", "walk", "", []string{"first_aid"}},
		{"nurse", "medical", "drive", "护士执业证", []string{"first_aid", "cpr", "injection", "catheter", "oxygen"}},
		{"volunteer", "volunteer", "walk", "", []string{"first_aid", "cpr"}},
		{"repairer", "repair", "ebike", "电工证", []string{"electrics", "plumbing", "lock"}},
		{"community_staff", "", "ebike", "", []string{"first_aid", "cpr"}},
		{"doctor", "medical", "drive", "医师执业证", []string{"first_aid", "cpr", "aed", "injection", "oxygen"}},
		{"rescue", "care_firm", "drive", "急救员证", []string{"first_aid", "cpr", "aed", "lift_two", "lock"}},
		{"social_worker", "social_work", "ebike", "社会工作者证", []string{"first_aid", "dementia"}},
	}
)
